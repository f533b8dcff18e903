package stages_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// another is the world of a further job, on the same host and the same server.
func (w *world) another(t testing.TB, id int) *world {
	v := *w
	v.env.JobResponseFile = filepath.Join(w.dir, fmt.Sprintf("response-%d.json", id))
	v.env.Attempt = fmt.Sprintf("%08x", id)
	v.job(t, map[string]any{"id": id})
	return &v
}

// limiter refuses what comes faster than perSecond, with bursts of that size, as
// ECI does; and each second call, so that a slow machine is throttled too.
type limiter struct {
	mu        sync.Mutex
	perSecond float64
	left      map[string]float64
	at        map[string]time.Time
	refused   int
}

func (l *limiter) call(action string, n int) ecitest.CallFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	left, known := l.left[action]
	if !known {
		left = l.perSecond
	}
	left = min(l.perSecond, left+now.Sub(l.at[action]).Seconds()*l.perSecond)
	l.at[action] = now
	if left < 1 || n%2 == 1 {
		l.left[action] = left
		l.refused++
		return ecitest.CallFault{Status: 400, Code: "Throttling.User", Message: "Request was denied due to user flow control."}
	}
	l.left[action] = left - 1
	return ecitest.CallFault{}
}

// 50 prepares at once, against an API that throttles each action, settle without
// a failed job. They share one look at all groups, and delete what they made.
func TestFiftyPreparesUnderThrottling(t *testing.T) {
	const jobs = 50
	limit := &limiter{perSecond: 15, left: map[string]float64{}, at: map[string]time.Time{}}
	w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: limit.call}})
	w.config.Timeouts.Ready, w.config.Timeouts.Delete = 3*time.Minute, time.Minute
	var worlds []*world
	for i := range jobs {
		worlds = append(worlds, w.another(t, 100+i))
	}
	each := func(f func(v *world) error) {
		errs := make(chan error, jobs)
		for _, v := range worlds {
			go func() { errs <- f(v) }()
		}
		for range jobs {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
	started := time.Now()
	each(func(v *world) error {
		log, err := v.prepareFor(t, 3*time.Minute)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, log)
		}
		return nil
	})
	if live := w.server.Live(); len(live) != jobs {
		t.Errorf("%d groups, want %d", len(live), jobs)
	}
	calls := w.calls()
	t.Logf("%d prepares in %s, %d calls refused, calls %v", jobs, time.Since(started).Round(time.Second), limit.refused, calls)
	if limit.refused == 0 {
		t.Error("nothing was throttled: the test shows nothing")
	}
	if calls["DescribeContainerGroupStatus"] == 0 {
		t.Error("the prepares did not look together")
	}
	each(func(v *world) error { return v.cleanup(t) })
	if markers, err := filepath.Glob(filepath.Join(w.config.StateDir, "*.waiting")); err != nil || len(markers) > 0 {
		t.Errorf("markers are left: %v, %v", markers, err)
	}
	w.awaitNoGroups(t, time.Minute)
}
