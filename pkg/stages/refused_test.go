package stages_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
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
		{"a proxy in ECI's place", "auto", "", 0, 100, []string{"no script can be run or followed", "answered HTTP 403 without an error of ECI"}},
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

// What the API refuses to tell of a group, as while a key is exchanged, ends no script whose
// connection lives, or can be had again.
func TestRefusedDescribe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, code string
		faults     []string
	}{
		{"a right that is taken away", "Forbidden.RAM", nil},
		{"a code that is new, and connections that are lost", "Meteor.Strike", []string{"exec:drop-every=300ms,times=3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: faults(t, tt.faults...)})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var out bytes.Buffer
			stage := w.stage(t, &out)
			stage.Remote.Diagnose = 50 * time.Millisecond
			api := &mute{API: stage.API, why: &eci.Error{Op: "describe", Code: tt.code, HTTPStatus: 403}}
			stage.API = api
			script := t.TempDir() + "/script"
			write(t, script, "echo a; sleep 1; echo b; exit 3")
			var build *stages.BuildError
			if err := stage.Run(w.context(t), script, "step_script"); !errors.As(err, &build) || build.Status != 3 || out.String() != "a\nb\n" {
				t.Errorf("error %v, log %q", err, out.String())
			}
			if api.asked.Load() == 0 {
				t.Error("nobody asked for the group")
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// mute is an API that refuses to tell of groups.
type mute struct {
	stages.API
	why   error
	asked atomic.Int64
}

func (m *mute) DescribeContainerGroups(context.Context, eci.Query) ([]eci.Group, error) {
	m.asked.Add(1)
	return nil, m.why
}
