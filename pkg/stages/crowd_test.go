package stages_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
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

// atOnce does something for all jobs at the same time.
func atOnce(t testing.TB, worlds []*world, f func(v *world) error) {
	t.Helper()
	errs := make(chan error, len(worlds))
	for _, v := range worlds {
		go func() { errs <- f(v) }()
	}
	for range worlds {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// 50 jobs at once on one host wait together for their groups, by at most 5 polls each,
// and make no call that the limits of the actions would refuse: here a tenth of them, in
// a minute of 3 s, and the host's rate three quarters of that, as the time that a busy
// machine takes from a turn to its call is no shorter here.
func TestFiftyJobsWithinTheLimits(t *testing.T) {
	const jobs = 50
	w := newWorld(t, ecitest.Options{
		Rates: ecitest.Rates{Scale: 0.1, Window: 3 * time.Second},
		Faults: ecitest.Faults{Group: func(n int) ecitest.GroupFault {
			return ecitest.GroupFault{Schedule: 2*time.Second + time.Duration(n%7)*time.Second}
		}},
	})
	w.config.Timeouts.Ready, w.config.Timeouts.Delete = 3*time.Minute, time.Minute
	w.rates = func(action string) stages.Rate {
		r := stages.HostRate(action)
		return stages.Rate{PerMinute: 3 * r.PerMinute / 2, Burst: r.Burst / 10}
	}
	var worlds []*world
	for i := range jobs {
		worlds = append(worlds, w.another(t, 100+i))
	}
	atOnce(t, worlds, func(v *world) error {
		log, err := v.prepareFor(t, 3*time.Minute)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, log)
		}
		for _, stage := range []string{"get_sources", "build_script"} {
			if out, err := v.run(t, stage, "echo done"); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
		}
		return v.cleanup(t)
	})
	polls := map[string]int{}
	for _, c := range w.server.Calls() {
		if strings.HasPrefix(c.Code, "Throttling") {
			t.Errorf("%s was refused: %s", c.Action, c.Code)
		}
		switch {
		case c.Action == "DescribeContainerGroupStatus":
			polls["together"]++
		case c.Params.Has("ContainerGroupIds"):
			polls["alone"]++
		}
	}
	t.Logf("%d jobs, calls %v, polls %v", jobs, w.calls(), polls)
	if n := polls["together"] + polls["alone"]; n > 5*jobs {
		t.Errorf("%d polls for %d jobs, want at most 5 each: %v", n, jobs, polls)
	}
	w.awaitNoGroups(t)
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
	each := func(f func(v *world) error) { atOnce(t, worlds, f) }
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
	w.awaitNoGroups(t)
}
