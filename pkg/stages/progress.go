package stages

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress is a file beside the attempt's record by which ps and logs know the stage that
// runs. The stage has a lock on it, which ends with its process however that ends: a file
// without a lock is of a stage that was killed.
type progress struct {
	Stage string    `json:"stage"` // prepare, or the sub-stage of run
	Since time.Time `json:"since"` // by this host's clock
}

const stageSuffix = ".stage.json"

// stageLife is how long the file of a stage that was killed is kept.
const stageLife = 7 * 24 * time.Hour

func stagePath(record string) string {
	return beside(record, stageSuffix)
}

// working lets ps and logs know that a stage has begun; done must be called at its end. The
// stage does not fail where that can't be written.
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
		os.Remove(path) //nolint:errcheck // a file without a lock counts for nothing
		f.Close()       // nothing was written
	}
}

// stageOf is the stage that runs on this host for the attempt of a record; empty where none
// does.
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
