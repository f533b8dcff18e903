package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/wholefile"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Record is what the driver keeps of one attempt in state_dir: the intent before
// the create call, the group's id after it, and whether the attempt is over. It
// holds registry passwords, hence 0600.
type Record struct {
	Instance string                 `json:"instance"`
	Job      int64                  `json:"job"`
	Attempt  string                 `json:"attempt"`
	Name     string                 `json:"name"`             // of the group
	Region   string                 `json:"region,omitempty"` // of the group
	Tags     map[string]string      `json:"tags"`             // those that find the attempt's groups
	Params   eci.Params             `json:"params,omitempty"`
	GroupID  string                 `json:"group_id,omitempty"`
	Cost     *Cost                  `json:"cost,omitempty"`     // of the group, once it runs
	Starting *Starting              `json:"starting,omitempty"` // of the group, while not all of it is known to have started
	Awaited  bool                   `json:"awaited,omitempty"`  // its services were, well or not
	Services map[string]ServiceSeen `json:"services,omitempty"` // by container
	Created  time.Time              `json:"created"`
	Expires  time.Time              `json:"expires,omitzero"` // as in the group's tag
	Over     time.Time              `json:"over,omitzero"`    // when cleanup began; the file goes when nothing is left
	Looks    int                    `json:"looks,omitzero"`   // how many of looks have found nothing since

	Failed    *Failed   `json:"failed,omitempty"` // where the group is kept for it
	KeepUntil time.Time `json:"keep_until,omitzero"`
	Kept      bool      `json:"kept,omitempty"` // cleanup left it to end then

	Transport string `json:"transport,omitempty"` // sync, once the WebSocket was given up
}

// isOver tells whether nothing needs the attempt's group any more: cleanup has begun, or the
// time of a kept group is over. That time was written with the job's last script, so it also
// counts where cleanup was killed before it could write anything.
func (r *Record) isOver(now time.Time) bool {
	return !r.Over.IsZero() || !r.KeepUntil.IsZero() && now.After(r.KeepUntil.Add(keptGrace))
}

// looks are the times after the beginning of a cleanup at which its attempt's groups are
// looked for: a create call that got no answer may take effect late, and a new group may
// not be listed at once. The first look is cleanup's, the others are made by later
// prepares and by reap.
func looks() []time.Duration { return []time.Duration{0, 30 * time.Second, 5 * time.Minute, time.Hour} }

// elsewhere tells whether the attempt's group is in another region than this one, where
// nothing can be learned of it: the region of the driver's file was changed, or another
// driver's file has the same state_dir.
func (r *Record) elsewhere(region string) bool { return r.Region != "" && r.Region != region }

// due tells whether it is time for the next look for groups of an attempt that is over. Where
// its cleanup began in the future, the clock was set back, and the look is due.
func (r *Record) due(now time.Time) bool {
	return r.Looks == 0 || r.Looks >= len(looks()) || !younger(now, r.Over, looks()[r.Looks])
}

// looked counts a look that found nothing and tells whether it was the last. Where the clock
// was set back to before the cleanup, the looks that are left count from at.
func (r *Record) looked(at time.Time) bool {
	if at.Before(r.Over) {
		r.Over = at
	}
	for r.Looks < len(looks()) && at.Sub(r.Over) >= looks()[r.Looks] {
		r.Looks++
	}
	return r.Looks >= len(looks())
}

// finds tells whether g is a group of the attempt.
func (r *Record) finds(g *eci.Group) bool {
	return r.GroupID == g.ID && g.ID != "" || hasTags(g, r.Tags)
}

// hasTags tells whether g has all these tags, which must be those of an attempt: without the
// tag attempt they stand for no group.
func hasTags(g *eci.Group, want map[string]string) bool {
	for k, v := range want {
		if g.Tags[k] != v {
			return false
		}
	}
	return want[tagAttempt] != ""
}

// newRecord is the record of the stage's attempt before anything has happened.
func (s *Stage) newRecord() *Record {
	return &Record{Instance: s.Job.Instance, Job: s.Job.ID, Attempt: s.Job.Attempt, Name: groupName(s.Config, s.Job),
		Region: s.Config.Region, Tags: attemptTags(s.Config, s.Job), Created: s.Clock.Now()}
}

// Note is what the driver keeps of a job from one attempt to the next.
type Note struct {
	First   time.Time `json:"first"`             // prepare of the first attempt
	Failure string    `json:"failure,omitempty"` // a failure that no later attempt can heal
}

// store is state_dir. One file per attempt, one per job that needs a note.
type store struct{ dir string }

const recordSuffix = ".attempt.json"

func (s store) recordPath(job *Job) string {
	return filepath.Join(s.dir, fileName(job)+"-a"+job.Attempt+recordSuffix)
}

// beside is the path of another file of the attempt that has the record.
func beside(record, suffix string) string { return strings.TrimSuffix(record, recordSuffix) + suffix }

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

func (s store) removeRecord(job *Job) error {
	return remove(s.recordPath(job))
}

// loadNote returns an empty note where there is none, and where it is damaged: the job may
// then make an attempt too many, while an error would fail all of them.
func (s store) loadNote(job *Job) (Note, error) { return loadAnew[Note](s.notePath(job)) }

func (s store) saveNote(job *Job, n Note) error { return save(s.notePath(job), n) }

// records lists the files of all attempts, sorted; none where there is no
// state_dir.
func (s store) records() ([]string, error) { return s.files(recordSuffix) }

func (s store) files(suffix string) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading state_dir: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(s.dir, e.Name()))
		}
	}
	return paths, nil
}

// update changes an attempt's record while no other process changes it. change gets the
// record, nil where there is none or it can't be read, and returns the one that is to be
// there, nil for none. update returns that one too, also with an error, where it could not
// be written. A record that can't be read is replaced by another, but never removed.
func (s store) update(path string, change func(*Record) *Record) (*Record, error) {
	release, lockErr := s.lockDir()
	defer release()
	var found Record
	ok, err := load(path, &found)
	r := &found
	if !ok || err != nil {
		r = nil
	}
	r = change(r)
	switch {
	case lockErr != nil:
		return r, lockErr
	case r == nil && err != nil:
		return nil, err
	case r == nil:
		return nil, remove(path)
	}
	return r, write(path, r)
}

// amend changes the record of the stage's attempt, where there is one, and returns it.
func (s *Stage) amend(change func(*Record)) (*Record, error) {
	return s.store().update(s.store().recordPath(s.Job), func(r *Record) *Record {
		if r != nil {
			change(r)
		}
		return r
	})
}

// noteLife is how long a note is kept: no job has an attempt a day after its last one.
const noteLife = 24 * time.Hour

// noteEnd is how long the note of a job is kept that has run. A second cleanup knows by the
// note that nothing is left to look for; but a busy host would have 100,000 of one day.
const noteEnd = 10 * time.Minute

// endNote has prune remove a job's note after noteEnd, by an older modification time.
func (s store) endNote(job *Job, now time.Time) {
	os.Chtimes(s.notePath(job), now, now.Add(noteEnd-noteLife)) //nolint:errcheck // then it goes after noteLife
}

// prune removes notes of jobs that can't have an attempt any more and what a
// killed process had begun to write, and returns the paths.
func (s store) prune(now time.Time) (removed []string) {
	for _, path := range s.stale(now) {
		if remove(path) == nil { // else the next prepare tries again
			removed = append(removed, path)
		}
	}
	return removed
}

// stale lists what prune removes.
func (s store) stale(now time.Time) []string {
	entries, _ := os.ReadDir(s.dir)
	var paths []string
	for _, e := range entries {
		life := noteLife
		switch {
		case strings.HasPrefix(e.Name(), wholefile.TempPrefix):
			life = time.Minute // a file is written in milliseconds
		case strings.HasSuffix(e.Name(), stageSuffix):
			life = stageLife
		case strings.HasSuffix(e.Name(), ".job.json"):
		case strings.HasSuffix(e.Name(), recordSuffix):
			continue // of whatever GitLab: its name may begin like that of another kind of file
		case strings.HasPrefix(e.Name(), pricePrefix):
			life = priceLife
		default:
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > life {
			paths = append(paths, filepath.Join(s.dir, e.Name()))
		}
	}
	return append(paths, s.staleSockets(now)...)
}

// Runner is whose groups this host makes: the tags instance and runner.
type Runner struct {
	Instance string `json:"instance"`
	Runner   string `json:"runner"`
}

func runnerOf(tags map[string]string) Runner { return Runner{tags[tagInstance], tags[tagRunner]} }

func (s store) runnersPath() string { return filepath.Join(s.dir, "runners.json") }

// runners are those whose jobs were prepared on this host.
func (s store) runners() (list []Runner, err error) {
	_, err = load(s.runnersPath(), &list)
	return list, err
}

// remember adds a runner to those of this host.
func (s store) remember(r Runner) error {
	if list, err := s.runners(); err == nil && slices.Contains(list, r) {
		return nil
	}
	release, err := s.lockDir()
	defer release()
	if err != nil {
		return err
	}
	list, _ := s.runners() // a damaged list is begun anew
	if slices.Contains(list, r) {
		return nil
	}
	return write(s.runnersPath(), append(list, r))
}

// load reads a file of state_dir; false where there is none.
func load(path string, into any) (bool, error) {
	data, err := read(path)
	if data == nil || err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("the driver's state file %s is damaged: %w", path, err)
	}
	return true, nil
}

// read returns nil where there is no file.
func read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the driver's state: %w", err)
	}
	return data, nil
}

// loadAnew reads a file whose content can be made anew. It returns the zero value where the
// file is missing or damaged.
func loadAnew[T any](path string) (value T, err error) {
	data, err := read(path)
	var found T
	if err != nil || json.Unmarshal(data, &found) != nil {
		return value, err
	}
	return found, nil
}

// save writes a file of state_dir, in turn with other processes.
func save(path string, value any) error {
	release, err := store{filepath.Dir(path)}.lockDir()
	defer release()
	if err != nil {
		return err
	}
	return write(path, value)
}

// write writes a file of state_dir; the caller has the lock. Whenever it is interrupted, the
// old file or the new one is there, whole.
func write(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := wholefile.WriteDurably(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the driver's state %s: %w", path, err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the driver's state: %w", err)
	}
	return nil
}
