package stages_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// leftover is a way in which the stages of one job go wrong.
type leftover struct {
	name   string
	hidden bool // is every group from all answers until cleanup has ended
	// prepare and cleanup say what happens to the n-th call of an action while
	// they run; a stop means that the stage is told to end at that call.
	prepare, cleanup func(action string, n int) (f ecitest.CallFault, stop bool)
	lost             bool // state_dir is, between prepare and cleanup
	never            bool // is cleanup called
	alive            int  // groups after cleanup: 0 where it must have done by itself
	refused          bool // the create call had no effect for sure
	brief            bool // cleanup, which does not do it anyway, has a second alone
}

// onCall is what happens to one call, and nothing to the others.
func onCall(action string, n int, fault ecitest.CallFault, stop bool) func(string, int) (ecitest.CallFault, bool) {
	return func(a string, i int) (ecitest.CallFault, bool) {
		if a != action || i != n {
			return ecitest.CallFault{}, false
		}
		return fault, stop
	}
}

// fromCall is what happens to all calls of an action from the n-th on.
func fromCall(action string, n int, fault ecitest.CallFault) func(string, int) (ecitest.CallFault, bool) {
	return func(a string, i int) (ecitest.CallFault, bool) {
		if a != action || i < n {
			return ecitest.CallFault{}, false
		}
		return fault, false
	}
}

// behind has calls of an action wait until one of another has come: a cleanup's delete and
// its look for more are made side by side.
func behind(other, action string, fault func(string, int) (ecitest.CallFault, bool)) func(string, int) (ecitest.CallFault, bool) {
	var once sync.Once
	come := make(chan struct{})
	return func(a string, n int) (ecitest.CallFault, bool) {
		switch a {
		case other:
			once.Do(func() { close(come) })
		case action:
			select {
			case <-come:
			case <-time.After(time.Minute):
				panic("a " + action + " without a " + other)
			}
		}
		return fault(a, n)
	}
}

func leftovers() []leftover {
	const create, describe, remove = "CreateContainerGroup", "DescribeContainerGroups", "DeleteContainerGroup"
	before, after := ecitest.CallFault{CutBefore: true}, ecitest.CallFault{CutAfter: true}
	busy := ecitest.CallFault{Status: 503, Code: "ServiceUnavailable", Message: "busy"}
	return []leftover{
		{name: "nothing goes wrong"},
		{name: "create is cut before it takes effect, then sent again", prepare: onCall(create, 0, before, false)},
		{name: "create is cut after it took effect, then sent again", prepare: onCall(create, 0, after, false)},
		{name: "create is answered busy after it took effect", prepare: func(a string, n int) (ecitest.CallFault, bool) {
			if a != create || n > 1 {
				return ecitest.CallFault{}, false
			}
			return []ecitest.CallFault{after, busy}[n], false
		}},
		{name: "create is refused", prepare: onCall(create, 0, ecitest.CallFault{Status: 403, Code: "QuotaExceeded", Message: "no"}, false), refused: true},
		{name: "stopped in create, which had no effect", prepare: onCall(create, 0, before, true)},
		{name: "stopped in create, which took effect", prepare: onCall(create, 0, after, true)},
		{name: "stopped in create, which took effect, and state_dir is lost", prepare: onCall(create, 0, after, true), lost: true},
		{name: "stopped in create, whose group is hidden", hidden: true, prepare: onCall(create, 0, after, true), alive: 1},
		{name: "stopped in create, whose group is hidden, and state_dir is lost", hidden: true, prepare: onCall(create, 0, after, true), lost: true, alive: 1},
		{name: "stopped while it waits", prepare: onCall(describe, 1, ecitest.CallFault{}, true)},
		{name: "stopped while it waits, and state_dir is lost", prepare: onCall(describe, 1, ecitest.CallFault{}, true), lost: true},
		{name: "stopped while it waits for a hidden group, which delete does not know yet", hidden: true, prepare: onCall(describe, 0, ecitest.CallFault{}, true),
			cleanup: fromCall(remove, 0, ecitest.CallFault{Status: 400, Code: "InvalidParameter.NotFound", Message: "no such group"}), alive: 1, brief: true},
		{name: "state_dir is lost", lost: true},
		{name: "delete is cut before it takes effect, then sent again", cleanup: onCall(remove, 0, before, false)},
		{name: "delete is cut after it took effect, then sent again", cleanup: onCall(remove, 0, after, false)},
		{name: "delete is busy for a while", cleanup: onCall(remove, 0, ecitest.CallFault{Status: 400, Code: "OperationConflict", Message: "wait"}, false)},
		{name: "delete is not possible for a while", cleanup: onCall(remove, 0, ecitest.CallFault{Status: 400, Code: "IncorrectStatus", Message: "wait"}, false)},
		{name: "delete does not know at first what is listed", cleanup: onCall(remove, 0, ecitest.CallFault{Status: 400, Code: "InvalidParameter.NotFound", Message: "no such group"}, false)},
		{name: "delete does not know for longer than cleanup has what is listed", cleanup: fromCall(remove, 0, ecitest.CallFault{Status: 400, Code: "InvalidParameter.NotFound", Message: "no such group"}), alive: 1, brief: true},
		{name: "delete fails for longer than cleanup has", cleanup: fromCall(remove, 0, busy), alive: 1, brief: true},
		{name: "delete fails for longer than cleanup has, and state_dir is lost", cleanup: fromCall(remove, 0, busy), lost: true, alive: 1, brief: true},
		{name: "delete is refused", cleanup: fromCall(remove, 0, ecitest.CallFault{Status: 403, Code: "Forbidden.RAM", Message: "no"}), alive: 1},
		{name: "no call of cleanup is answered", cleanup: func(string, int) (ecitest.CallFault, bool) { return before, false }, alive: 1, brief: true},
		{name: "cleanup is stopped before its delete", cleanup: behind(describe, remove, onCall(remove, 0, before, true)), alive: 1},
		{name: "cleanup is stopped after its delete", cleanup: behind(describe, remove, onCall(remove, 0, after, true))},
		{name: "cleanup is stopped while it looks for more", cleanup: behind(remove, describe, onCall(describe, 0, before, true))},
		{name: "delete is refused with a code that is new", cleanup: fromCall(remove, 0, ecitest.CallFault{Status: 400, Code: "Meteor.Strike", Message: "no"}), alive: 1, brief: true},
		{name: "cleanup is never called", never: true, alive: 1},
		{name: "the host goes down in create, which took effect, and nobody calls cleanup", prepare: onCall(create, 0, after, true), never: true, alive: 1},
		{name: "the host goes down while prepare waits, and nobody calls cleanup", prepare: onCall(describe, 1, ecitest.CallFault{}, true), never: true, alive: 1},
		{name: "the host is lost with its state_dir", prepare: onCall(create, 0, after, true), never: true, lost: true, alive: 1},
	}
}

// Whatever goes wrong, no group of the job outlives the next prepare or reap, the
// create call is one by its token, and no file of the job stays for good.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, finisher := range []string{"prepare", "reap"} {
		for _, tt := range leftovers() {
			if finisher == "prepare" && (tt.never || tt.alive == 0) {
				continue // it can't tell from a job that runs for long; cleanup did it all
			}
			t.Run(finisher+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, ecitest.Options{})
				w.config.Timeouts.Delete = 30 * time.Second
				if tt.brief {
					w.config.Timeouts.Delete = time.Second
				}
				front := w.front(t, in(0))
				w.config.Endpoint = front.url
				front.hidden.Store(tt.hidden)
				w.goWrong(t, tt)
				front.hidden.Store(false)
				if live := w.server.Live(); tt.alive > 0 && len(live) != tt.alive {
					t.Fatalf("%d groups are alive, want %d: the test shows nothing", len(live), tt.alive)
				} else if tt.alive == 0 {
					w.awaitNoGroups(t)
				}
				w.server.SetFaults(ecitest.Faults{})
				w.config.Timeouts.Delete = 30 * time.Second
				w.finish(t, tt, finisher)
				w.awaitNoGroups(t)
				w.oneCreate(t, tt.refused)
				w.forgotten(t)
			})
		}
	}
}

// goWrong takes the job through prepare and cleanup.
func (w *world) goWrong(t *testing.T, l leftover) {
	t.Helper()
	_ = w.faulty(t, l.prepare, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Prepare(ctx) })
	if l.lost {
		if err := os.RemoveAll(w.config.StateDir); err != nil {
			t.Fatal(err)
		}
	}
	if !l.never {
		err := w.faulty(t, l.cleanup, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Cleanup(ctx) })
		t.Logf("cleanup: %v", err)
	}
}

// faulty runs a stage under faults whose count begins with it, and returns when
// every call of it has taken its effect: one that the stage no longer waits for
// may do so later.
func (w *world) faulty(t *testing.T, fault func(string, int) (ecitest.CallFault, bool), stage func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var calls atomic.Int64
	calls.Store(int64(len(w.server.Calls())))
	begun := w.calls()
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		calls.Add(1)
		if fault == nil {
			return ecitest.CallFault{}
		}
		f, stop := fault(action, n-begun[action])
		if stop {
			cancel()
		}
		return f
	}})
	err := stage(ctx)
	for until := time.Now().Add(time.Minute); int64(len(w.server.Calls())) < calls.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("a call never ends")
		}
	}
	return err
}

// finish is what a later job or reap does half a minute later: a stage of this
// job would not come again.
func (w *world) finish(t *testing.T, l leftover, finisher string) {
	t.Helper()
	if finisher == "reap" {
		r := reaping{host: 31 * time.Second}
		if l.never {
			r.server = 26 * time.Minute // job timeout 10 m, deadline_extra 10 m, and 5 m
		}
		if l.lost { // with it the knowledge whose groups this host makes
			r.options.Runner = "12"
		}
		out, err := w.reap(t, r)
		if err != nil {
			t.Fatal(err)
		}
		row(t, out, "0 container groups left")
		return
	}
	w.job(t, map[string]any{"id": 43})
	w.env.Attempt = "0123abce"
	stage := w.stage(t, new(bytes.Buffer))
	stage.Clock = skewed{by: 31 * time.Second}
	if err := stage.Prepare(w.context(t)); err != nil {
		t.Fatal(err)
	}
	if live := w.server.Live(); len(live) != 1 {
		w.awaitLive(t, 1)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// awaitLive waits for the deletes that were asked for, of which no event tells.
func (w *world) awaitLive(t *testing.T, n int) {
	t.Helper()
	for until := time.Now().Add(time.Minute); len(w.server.Live()) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d groups are alive, want %d", len(w.server.Live()), n)
		}
	}
}

// oneCreate wants all create calls of job 42 to be one by their client token.
func (w *world) oneCreate(t *testing.T, refused bool) {
	t.Helper()
	var tokens []string
	made := 0
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" && c.Params.Get("ContainerGroupName") == "ci-12-p7-j42-a0123abcd" {
			tokens = append(tokens, c.Params.Get("ClientToken"))
			made++
		}
	}
	if slices.Sort(tokens); len(slices.Compact(tokens)) != 1 || tokens[0] == "" {
		t.Errorf("%d create calls with the tokens %v, want one token", made, tokens)
	}
	if refused && made != 1 {
		t.Errorf("%d create calls after a refusal", made)
	}
}

// forgotten wants that no file of an attempt is left two hours later.
func (w *world) forgotten(t *testing.T) {
	t.Helper()
	if _, err := w.reap(t, reaping{host: 2 * time.Hour, server: 2 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	if left := w.stateFiles(t, "*.attempt.json"); len(left) > 0 {
		t.Errorf("state left: %v", left)
	}
}

// A group that nobody deletes is ended by ECI itself.
func TestDeadlineIsTheLastLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"runner_info": map[string]any{"timeout": 8}}) // prepare must come first
	w.config.Timeouts.DeadlineExtra = time.Second
	out, err := w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.RemoveAll(w.config.StateDir); err != nil {
		t.Fatal(err)
	}
	w.awaitNoGroups(t)
}
