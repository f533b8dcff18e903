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

	"github.com/eci-executor/eci-executor/internal/wholefile"
)

// store is state_dir. Its files, and where they are described:
//
//	NAME-jJOB-aATTEMPT.attempt.json   an attempt: record.go
//	the same with .stage.json         the stage of it that runs: progress.go
//	the same with .waiting            its prepare waits for the group: crowd.go
//	NAME-jJOB.job.json                a job: note.go
//	runners.json                      whose groups this host makes: runners.go
//	host.json, slot-N.lease.json      names for {concurrent_id}: lease.go
//	relay/                            sockets of relays: share.go
//	calls-ACTION.json                 queues of API calls: rate.go
//	metrics.json                      what [metrics] counts: internal/metrics
//	.lock                             locks: lock.go
//
// What only saves calls may be lost at any time: startup.json (startup.go), price-*.json
// (cost.go), status-*.json (crowd.go), pending-*.json (starting.go), unreached-*.json and
// reached-*.json (transport.go).
type store struct{ dir string }

// fileName begins the names of a job's files. It is unique per job, and holds no character
// of the instance's name that could lead out of the directory.
func fileName(job *Job) string {
	return fmt.Sprintf("%s-j%d", label(job.Instance), job.ID)
}

// files lists the paths that end with a suffix, sorted.
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
			continue // whatever the name begins with: it is that of a GitLab instance
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

// remove removes a file of state_dir. It is no error that the file is gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the driver's state: %w", err)
	}
	return nil
}

// younger tells whether then is less than life ago. A time in the future was written
// under a clock that has been set back since; its age is not known, so it is not young.
func younger(now, then time.Time, life time.Duration) bool {
	age := now.Sub(then)
	return age >= 0 && age < life
}

// loadCache reads a file that only saves calls. False where it is missing or damaged:
// then the call is made.
func loadCache(path string, into any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, into) == nil
}

// saveCache writes such a file. It may be lost in a crash or on a full disk, at the cost
// of a call.
func saveCache(path string, value any) {
	if data, err := json.Marshal(value); err == nil {
		wholefile.Write(path, data, 0o600) //nolint:errcheck // nothing more can be done about a cache
	}
}
