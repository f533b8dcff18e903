package stages_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// A script that the API refuses to run or to follow ends its stage with the reason
// and what to do about it, not with the job's timeout; one refusal is borne.
func TestRefusedExec(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, transport, code string
		times                 int // of the refusal; 0 for ever
		quick                 time.Duration
		want                  []string // of the error; nil for none
	}{
		{"a right that is missing", "auto", "Forbidden.RAM", 0, 1, []string{"no script can be run or followed", "Forbidden.RAM", "Allow the RAM action eci:ExecContainerCommand"}},
		{"the same without a WebSocket", "sync", "Forbidden.RAM", 0, 1, []string{"no script can be run or followed", "Forbidden.RAM", "Allow the RAM action eci:ExecContainerCommand"}},
		{"a code that is new", "auto", "Meteor.Strike", 0, 100, []string{"no script can be run or followed", "Meteor.Strike"}},
		{"twice", "auto", "Forbidden.RAM", 2, 1, nil},
		{"a busy API", "auto", "Throttling.User", 5, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
				if action != "ExecContainerCommand" || tt.times > 0 && n >= tt.times {
					return ecitest.CallFault{}
				}
				return ecitest.CallFault{Status: 403, Code: tt.code, Message: "no"}
			}}})
			w.config.Exec.Transport = tt.transport
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			script := t.TempDir() + "/script"
			write(t, script, "true")
			stage := w.stage(t, new(bytes.Buffer))
			stage.Clock = quickClock{time.Now(), tt.quick}
			err := stage.Run(w.context(t), script, "step_script")
			if tt.want == nil && err != nil {
				t.Error(err)
			}
			if tt.want != nil {
				wantError(t, err, tt.want...)
				if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
					t.Errorf("exit status %d", status)
				}
			}
			if n := w.calls()["ExecContainerCommand"]; tt.want != nil && n > 40 {
				t.Errorf("%d calls", n)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
