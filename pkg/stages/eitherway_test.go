package stages_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// numbered is a script whose log shows any lost or doubled line, and that log.
func numbered(lines int) (script, log string) {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit 3", lines), b.String()
}

// lifecycle takes one job through all stages and wants its log and status exact.
func (w *world) lifecycle(t *testing.T) {
	t.Helper()
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("prepare: %v\n%s", err, out)
	}
	script, want := numbered(500)
	got, err := w.run(t, "build_script", script)
	var build *stages.BuildError
	if !errors.As(err, &build) || build.Status != 3 {
		t.Errorf("error %v, want exit status 3", err)
	}
	if got != want {
		t.Errorf("%d bytes of log, want %d", len(got), len(want))
	}
	if err := w.cleanup(t); err != nil {
		t.Errorf("cleanup: %v", err)
	}
	if err := w.cleanup(t); err != nil {
		t.Errorf("second cleanup: %v", err)
	}
}

// What the documentation leaves open must work either way it falls.
func TestEitherWay(t *testing.T) {
	tests := []struct {
		name     string
		switches ecitest.Switches
	}{
		{"exec starts at the call", ecitest.Switches{ExecStartsAtCall: true}},
		{"exec ends with its process", ecitest.Switches{ExecClosesAtExit: true}},
		{"exec is killed at a disconnect", ecitest.Switches{ExecKilledAtDisconnect: true}},
		{"orphans block", ecitest.Switches{ExecOrphanOutput: ecitest.OrphanBlock}},
		{"orphans lose their output", ecitest.Switches{ExecOrphanOutput: ecitest.OrphanClose}},
		{"error channel and an empty first frame", ecitest.Switches{ExecErrorChannel: true, EmptyFirstFrame: true}},
		{"exec while pending", ecitest.Switches{ExecAllowedWhilePending: true, ParallelContainerStart: true}},
		{"a new group is hidden", ecitest.Switches{NewGroupHiddenFor: time.Second}},
		{"a deleted group stays visible", ecitest.Switches{DeletedGroupStaysVisible: time.Second}},
		{"deleting twice is an error", ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}},
		{"Force is refused", ecitest.Switches{ForceDeleteRefused: true}},
		{"no exit code fields", ecitest.Switches{NoExitCodeFields: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, ecitest.Options{Switches: tt.switches}).lifecycle(t)
		})
	}
}

func TestStreamFaults(t *testing.T) {
	// once applies a fault to the first n execs alone.
	once := func(n int, f ecitest.ExecFault) func(int) ecitest.ExecFault {
		return func(i int) ecitest.ExecFault {
			if i < n {
				return f
			}
			return ecitest.ExecFault{}
		}
	}
	always := func(f ecitest.ExecFault) func(int) ecitest.ExecFault { return once(1<<30, f) }
	tests := []struct {
		name string
		exec func(int) ecitest.ExecFault
	}{
		{"handshake refused twice", once(2, ecitest.ExecFault{RefuseHandshake: true})},
		{"dropped before the first byte", once(1, ecitest.ExecFault{Drop: true})},
		{"dropped three times in the log", once(3, ecitest.ExecFault{Drop: true, DropAfter: 1000})},
		{"half-open", once(1, ecitest.ExecFault{Drop: true, DropAfter: 1000, HalfOpen: true})},
		{"single bytes", always(ecitest.ExecFault{MaxFrame: 1})},
		{"merged frames", always(ecitest.ExecFault{Merge: true})},
		{"text frames", always(ecitest.ExecFault{Text: true})},
		{"no channel byte", always(ecitest.ExecFault{Unprefixed: true})},
		{"empty frames", always(ecitest.ExecFault{EmptyFrames: true})},
		{"stdin lost", once(1, ecitest.ExecFault{DropStdin: true, DropStdinAfter: 10})},
		{"the end swallowed", once(2, ecitest.ExecFault{SwallowFinal: 40})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, ecitest.Options{Faults: ecitest.Faults{Exec: tt.exec}}).lifecycle(t)
		})
	}
}

func TestCallFaults(t *testing.T) {
	tests := []struct {
		name string
		call func(action string, n int) ecitest.CallFault
	}{
		{"throttled", func(_ string, n int) ecitest.CallFault {
			if n == 0 {
				return ecitest.CallFault{Status: 400, Code: "Throttling.User", Message: "slow down"}
			}
			return ecitest.CallFault{}
		}},
		{"cut before it took effect", func(_ string, n int) ecitest.CallFault { return ecitest.CallFault{CutBefore: n == 0} }},
		{"cut after it took effect", func(_ string, n int) ecitest.CallFault { return ecitest.CallFault{CutAfter: n == 0} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: tt.call}}).lifecycle(t)
		})
	}
}
