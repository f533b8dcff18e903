package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/wholefile"
)

// lockLimit is how long other processes may hold the lock; each needs a millisecond.
const lockLimit = 10 * time.Second

// Flush adds what was counted to the file in stateDir and writes the textfile, of
// Prometheus' text format, anew. What was counted is counted once: it is given up where
// it can't be written.
func (r *Recorder) Flush(stateDir, textfile string, now time.Time) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	counted, jobs := r.counted, r.jobs
	r.counted, r.jobs = newTally(), nil
	release, err := lock(stateDir)
	if err != nil {
		return fmt.Errorf("counting for [metrics] textfile: %w", err)
	}
	defer release()
	path := filepath.Join(stateDir, "metrics.json")
	all, damaged := load(path)
	for _, change := range jobs {
		change(&all)
	}
	all.take(counted)
	all.forget(now)
	data, err := json.Marshal(all)
	if err == nil {
		err = wholefile.Write(path, data, 0o600)
	}
	if err != nil {
		return errors.Join(damaged, fmt.Errorf("counting for [metrics] textfile: %w", err))
	}
	if err := wholefile.Write(textfile, all.exposition(), 0o644); err != nil {
		return errors.Join(damaged, fmt.Errorf("writing [metrics] textfile: %w; its directory must be there, and writable for the runner's user", err))
	}
	return damaged
}

// lock waits for its turn. The kernel lets go of it with the process.
func lock(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".metrics.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		for {
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err = <-locked:
	case <-time.After(lockLimit):
		return nil, errors.New("another process has held its lock for too long") // and keeps f open, with the wait
	}
	if err != nil {
		f.Close() // nothing was written
		return nil, err
	}
	return func() { f.Close() }, nil // nothing was written
}

// load is what was counted so far; with an error where that is lost.
func load(path string) (tally, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newTally(), nil
	}
	var t tally
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil {
		return newTally(), fmt.Errorf("what was counted for [metrics] textfile is lost, and begun anew: %w", err)
	}
	t.whole()
	return t, nil
}
