package stages_test

import (
	"bytes"
	"context"
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
