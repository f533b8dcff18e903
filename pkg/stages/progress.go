package stages

import (
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progress is what a stage tells of itself in state_dir while it runs, for ps and
// logs: a file beside the attempt's record. The stage's lock on it says that the
// stage runs; it ends with the process, however that ends.
type progress struct {
	Stage string    `json:"stage"` // prepare, or the sub-stage of run
	Since time.Time `json:"since"` // by this host's clock
}

const stageSuffix = ".stage.json"

// stageLife is after how long the file of a process that was killed is removed.
const stageLife = 7 * 24 * time.Hour

func stagePath(record string) string {
	return strings.TrimSuffix(record, ".attempt.json") + stageSuffix
}

// working tells that a stage has begun; done must be called at its end. That it
// can't be told is no failure of the stage.
func (s *Stage) working(stage string) (done func()) {
	path := stagePath(s.store().recordPath(s.Job))
	saveCache(path, progress{stage, s.Clock.Now()})
	f, err := os.Open(path)
	if err != nil {
		return func() {}
	}
	lockErr := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if lockErr != nil {
		s.Logger.WithError(lockErr).Debug("telling which stage runs")
	}
	return func() {
		os.Remove(path) //nolint:errcheck // a file without a lock tells nothing
		f.Close()       // nothing was written
	}
}

// stageOf is the stage that this host runs for an attempt; nothing where none
// runs, or another host runs it.
func (s store) stageOf(record string) progress {
	f, err := os.Open(stagePath(record))
	if err != nil {
		return progress{}
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return progress{} // its process was killed
	}
	var p progress
	loadCache(f.Name(), &p)
	return p
}
