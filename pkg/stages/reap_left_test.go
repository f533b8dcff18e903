package stages_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// leftByCleanup prepares a job, and cleans it up while no delete succeeds.
func (w *world) leftByCleanup(t *testing.T) (group string) {
	t.Helper()
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	group = w.server.Live()[0]
	limit := w.config.Timeouts.Delete
	w.config.Timeouts.Delete = time.Second // it does not do it anyway
	busy := ecitest.CallFault{Status: 503, Code: "ServiceUnavailable", Message: "busy"}
	err := w.faulty(t, fromCall("DeleteContainerGroup", 0, busy), func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Cleanup(ctx) })
	wantError(t, err, group+" may still be running")
	w.server.SetFaults(ecitest.Faults{})
	w.config.Timeouts.Delete = limit
	return group
}

// What a record says is over is this host's, though the list of its runners is lost: it is
// deleted, and left where that fails.
func TestReapWithoutTheListOfRunners(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	group := w.leftByCleanup(t)
	if err := os.Remove(filepath.Join(w.config.StateDir, "runners.json")); err != nil {
		t.Fatal(err)
	}
	w.server.SetFaults(faults(t, "DeleteContainerGroup:error=403/Forbidden.RAM"))
	out, err := w.reap(t, reaping{})
	wantError(t, err, "Forbidden.RAM")
	row(t, out, group, "failed")
	if !strings.HasSuffix(out, "\n1 container groups left\n") {
		t.Errorf("a group that can't be deleted is not told as left:\n%s", out)
	}
	w.server.SetFaults(ecitest.Faults{})
	if out, err = w.reap(t, reaping{}); err != nil {
		t.Fatal(err)
	}
	row(t, out, group, "deleted", "its job is over")
	w.awaitNoGroups(t)
}

// A group that is listed and that delete does not know may be too new: its record stays,
// and the next reap ends it.
func TestReapOfAGroupThatDeleteDoesNotKnow(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	group := w.leftByCleanup(t)
	w.server.SetFaults(faults(t, "DeleteContainerGroup:error=400/InvalidParameter.NotFound"))
	for _, later := range []time.Duration{time.Minute, 2 * time.Hour} {
		out, err := w.reap(t, reaping{host: later})
		if err != nil {
			t.Fatal(err)
		}
		row(t, out, group, "gone")
		row(t, out, "a0123abcd.attempt.json", "kept", "is not known by its id")
	}
	w.server.SetFaults(ecitest.Faults{})
	out, err := w.reap(t, reaping{host: 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	row(t, out, group, "deleted", "its job is over")
	w.awaitNoGroups(t)
}
