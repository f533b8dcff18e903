package stages_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// An attempt that a stage by hand comes back to is one group at most.
func TestPrepareAgainByHand(t *testing.T) {
	create := "CreateContainerGroup"
	tests := []struct {
		name  string
		first func(string, int) (ecitest.CallFault, bool)
		clean func(string, int) (ecitest.CallFault, bool) // the cleanup between; nil for none
		later time.Duration
		err   string
		live  int
	}{
		{name: "its group runs", live: 1},
		{name: "its create call was cut after it took effect", first: onCall(create, 0, ecitest.CallFault{CutAfter: true}, true), live: 1},
		{name: "its create call was cut, long ago", first: onCall(create, 0, ecitest.CallFault{CutAfter: true}, true), later: 11 * time.Minute,
			err: "run cleanup first", live: 1},
		{name: "it was cleaned up", clean: onCall("", 0, ecitest.CallFault{}, false), live: 1},
		{name: "its cleanup was cut", clean: onCall("DeleteContainerGroup", 0, ecitest.CallFault{CutBefore: true}, true), live: 1},
		{name: "nobody knows whether it has a group", first: onCall(create, 0, ecitest.CallFault{CutBefore: true}, true), clean: onCall("", 0, ecitest.CallFault{}, false),
			err: "may still appear until"},
		{name: "nobody knew, an hour ago", first: onCall(create, 0, ecitest.CallFault{CutBefore: true}, true), clean: onCall("", 0, ecitest.CallFault{}, false),
			later: 61 * time.Minute, live: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			_ = w.faulty(t, tt.first, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Prepare(ctx) })
			if tt.clean != nil {
				_ = w.faulty(t, tt.clean, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Cleanup(ctx) })
			}
			w.server.SetFaults(ecitest.Faults{})
			stage := w.stage(t, new(bytes.Buffer))
			stage.Clock = skewed{by: tt.later}
			err := stage.Prepare(w.context(t))
			if tt.err == "" && err != nil {
				t.Fatal(err)
			}
			if tt.err != "" {
				wantError(t, err, tt.err)
			}
			w.awaitLive(t, tt.live)
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Of several prepares of one attempt at the same time one asks for a group.
func TestPreparesAtOnceByHand(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	var others []error
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action == "CreateContainerGroup" && n == 0 {
			for range 2 {
				_, err := w.prepare(t)
				others = append(others, err)
			}
		}
		return ecitest.CallFault{}
	}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(others) != 2 {
		t.Fatalf("%d other prepares, want 2", len(others))
	}
	for _, err := range others {
		wantError(t, err, "attempt 0123abcd of job 42 is being prepared by another process")
	}
	if out, err := w.prepare(t); err != nil { // it has ended
		t.Errorf("%v\n%s", err, out)
	}
	w.oneCreate(t, false)
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.awaitNoGroups(t)
}

// By hand an attempt comes back. What reap read of its end before that counts no
// more.
func TestReapLeavesAnAttemptBegunAnew(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stop := behind("DescribeContainerGroups", "DeleteContainerGroup", onCall("DeleteContainerGroup", 0, ecitest.CallFault{CutBefore: true}, true))
	if err := w.faulty(t, stop, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Cleanup(ctx) }); err == nil {
		t.Fatal("cleanup succeeded")
	}
	first := w.server.Live()[0]
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "DescribeContainerGroups" { // reap's listing; it has read the records
			w.server.SetFaults(ecitest.Faults{})
			if out, err := w.prepare(t); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
		return ecitest.CallFault{}
	}})
	out, err := w.reap(t, reaping{})
	if err != nil {
		t.Fatal(err)
	}
	w.awaitLive(t, 1)
	second := w.server.Live()[0]
	if second == first {
		t.Fatal("the attempt was not begun anew: the test shows nothing")
	}
	row(t, out, second, "kept") // as one that may run, or while the sandbox still holds a copy of prepare's lock
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
