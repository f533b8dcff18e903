package stages_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// However ECI shows a group that its deadline has ended, the job fails as the
// system's failure and cleanup succeeds.
func TestDeadlineEitherWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
	}{
		{"Failed, with a reason and without its log", ecitest.Switches{DeadlineReason: "DeadlineExceeded", LogGoneAfterEnd: true}},
		{"Expired", ecitest.Switches{DeadlineStatus: "Expired"}},
		{"Succeeded", ecitest.Switches{DeadlineStatus: "Succeeded"}},
		{"a status that nobody knows", ecitest.Switches{DeadlineStatus: "Stopped"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: tt.switches})
			w.job(t, map[string]any{"runner_info": map[string]any{"timeout": 14}})
			w.config.Timeouts.DeadlineExtra = time.Second
			wantError(t, endedFromOutside(t, w, nil), "group")
			w.awaitNoGroups(t)
		})
	}
}

// endedFromOutside takes a job into a script that something else is to end, by strike
// once it has printed or, where that is nil, in its own time, and gives the error, which
// must be the system's, after a cleanup.
func endedFromOutside(t *testing.T, w *world, strike func(group string) error) error {
	t.Helper()
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := w.runMeanwhile(t, "echo begun; sleep 300", func() {
		if strike == nil {
			return
		}
		if err := strike(w.server.Live()[0]); err != nil {
			t.Error(err)
		}
	})
	var build *stages.BuildError
	if err == nil || errors.As(err, &build) {
		t.Errorf("error %v, want a system failure", err)
	}
	if log != "begun\n" {
		t.Errorf("log %q", log)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
	return err
}

// A build whose PID 1 is killed for memory is told, whatever ECI calls that and
// whether the group goes on. Where the group ends, which container is seen to have
// ended first is not determined: the event names build.
func TestOutOfMemoryEitherWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
		want     string
	}{
		{"OOMKilled", ecitest.Switches{}, "raise the memory of the container group"},
		{"the group ends", ecitest.Switches{OOMEndsGroup: true}, "OOMKilled"},
		{"the group ends, and nobody says why", ecitest.Switches{OOMEndsGroup: true, OOMReason: "Error"}, "OOMKilled: Memory limit reached: a process of container build was killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: tt.switches})
			starve := func(group string) error { return w.server.StarveContainer(group, "build") }
			wantError(t, endedFromOutside(t, w, starve), tt.want)
		})
	}
}

// No stage of a job depends on DescribeContainerLog: none calls it.
func TestLogActionIsNotNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Faults: faults(t, "DescribeContainerLog:error=500")})
	w.lifecycle(t)
	for _, c := range w.server.Calls() {
		if strings.HasPrefix(c.Action, "DescribeContainerLog") {
			t.Errorf("called with %v", c.Params)
		}
	}
}

// Where neither a list nor an exec knows the group any more, its end is certain after
// one look of each, without the wait for an absence that may pass.
func TestGroupThatVanished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Exec: func(int) ecitest.ExecFault {
		return ecitest.ExecFault{Drop: true, DropFrom: "lost"}
	}}})
	front := w.front(t, in(0))
	w.config.Endpoint = front.url
	w.remote.Idle, w.remote.Diagnose = time.Minute, time.Minute // so that nothing but the loss has it look
	w.mustPrepare(t)
	looks := 0
	_, err := w.runMeanwhile(t, "echo begun; while [ ! -e /cache/go ]; do sleep 0.05; done; echo lost; sleep 300", func() {
		w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
			if action == "ExecContainerCommand" {
				return ecitest.CallFault{Status: 404, Code: "InvalidParameter.NotFound"}
			}
			return ecitest.CallFault{}
		}})
		front.hidden.Store(true)
		looks = w.calls()["DescribeContainerGroups"]
		write(t, filepath.Join(w.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), "go"), "")
	})
	front.hidden.Store(false)
	wantError(t, err, "does not exist any more")
	if looks = w.calls()["DescribeContainerGroups"] - looks; looks != 2 {
		t.Errorf("%d looks, want one when the connection is lost and one when the exec is refused", looks)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
