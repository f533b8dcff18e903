package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Record is what the driver keeps of one attempt in state_dir: the intent before
// the create call, the group's id after it, and whether the attempt is over. It
// holds registry passwords, hence 0600.
type Record struct {
	Instance string            `json:"instance"`
	Job      int64             `json:"job"`
	Attempt  string            `json:"attempt"`
	Name     string            `json:"name"` // of the group
	Tags     map[string]string `json:"tags"` // those that find the attempt's groups
	Params   eci.Params        `json:"params,omitempty"`
	GroupID  string            `json:"group_id,omitempty"`
	Cost     *Cost             `json:"cost,omitempty"` // of the group, once it runs
	Created  time.Time         `json:"created"`
	Over     time.Time         `json:"over,omitzero"`  // cleanup ran, but is not sure that nothing is left
	Looks    int               `json:"looks,omitzero"` // how often a group was looked for since
}

// Note is what the driver keeps of a job over its attempts.
type Note struct {
	First   time.Time `json:"first"`             // prepare of the first attempt
	Failure string    `json:"failure,omitempty"` // a failure that no later attempt can heal
}

// store is state_dir. One file per attempt, one per job that needs a note.
type store struct{ dir string }

func (s store) recordPath(job *Job) string {
	return filepath.Join(s.dir, fileName(job)+"-a"+job.Attempt+".attempt.json")
}

func (s store) notePath(job *Job) string {
	return filepath.Join(s.dir, fileName(job)+".job.json")
}

// fileName is unique per job and holds no character of the instance's name that
// could leave the directory.
func fileName(job *Job) string {
	return fmt.Sprintf("%s-j%d", label(job.Instance), job.ID)
}

// loadRecord returns nil where the attempt has none.
func (s store) loadRecord(job *Job) (*Record, error) {
	var r Record
	ok, err := load(s.recordPath(job), &r)
	if err != nil || !ok {
		return nil, err
	}
	return &r, nil
}

func (s store) saveRecord(job *Job, r *Record) error { return save(s.recordPath(job), r) }

func (s store) removeRecord(job *Job) error {
	return remove(s.recordPath(job))
}

// loadNote returns an empty note where there is none.
func (s store) loadNote(job *Job) (Note, error) {
	var n Note
	_, err := load(s.notePath(job), &n)
	return n, err
}

func (s store) saveNote(job *Job, n Note) error { return save(s.notePath(job), n) }

// unfinished lists the records of attempts that cleanup left with a doubt.
func (s store) unfinished() (map[string]*Record, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.attempt.json"))
	if err != nil {
		return nil, err
	}
	found := map[string]*Record{}
	for _, name := range names {
		var r Record
		// A damaged file is left for a person to see; it must not stop other jobs.
		if ok, err := load(name, &r); err == nil && ok && !r.Over.IsZero() {
			found[name] = &r
		}
	}
	return found, nil
}

// prune removes notes of jobs that can't have an attempt any more.
func (s store) prune(now time.Time) {
	names, _ := filepath.Glob(filepath.Join(s.dir, "*.job.json"))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			os.Remove(name) //nolint:errcheck // the next prepare tries again
		}
	}
}

func load(path string, into any) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the driver's state: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("the driver's state file %s is damaged: %w", path, err)
	}
	return true, nil
}

// save writes so that a crash leaves the old file or the new one, whole.
func save(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making state_dir: %w", err)
	}
	f, err := os.CreateTemp(dir, ".tmp-"+strings.TrimSuffix(filepath.Base(path), ".json")+"-*") // 0600
	if err != nil {
		return fmt.Errorf("writing the driver's state: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("writing the driver's state %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the driver's state: %w", err)
	}
	return nil
}
