package stages_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
	t.Parallel()
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
		{"text without a channel byte", ecitest.Switches{ExecTextFrames: true, ExecNoChannelByte: true}},
		{"exec while pending", ecitest.Switches{ExecAllowedWhilePending: true, ParallelContainerStart: true}},
		{"one socket at once", ecitest.Switches{ExecMaxSessions: 1}},
		{"a new group is hidden", ecitest.Switches{NewGroupHiddenFor: time.Second}},
		{"a new group is an unknown id", ecitest.Switches{NewGroupHiddenFor: time.Second, UnknownIDOnDescribe: "InvalidParameter.NotFound"}},
		{"a deleted group stays visible", ecitest.Switches{DeletedGroupStaysVisible: time.Second}},
		{"a deleted group can't be deleted", ecitest.Switches{DeletedGroupStaysVisible: time.Second, DeleteWhileTerminating: "OperationConflict"}},
		{"deleting twice is an error", ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}},
		{"Force is refused", ecitest.Switches{ForceDeleteRefused: true}},
		{"no exit code fields", ecitest.Switches{NoExitCodeFields: true}},
		{"config files are counted in base64", ecitest.Switches{ConfigFileLimitsEncoded: true}},
		{"subprotocols are refused", ecitest.Switches{ExecSubprotocol: ecitest.SubprotocolRefused}},
		{"subprotocols are taken", ecitest.Switches{ExecSubprotocol: ecitest.SubprotocolV5}},
		{"FIFOs join no containers", ecitest.Switches{FIFOsApart: true}},
		{"memory of volumes is not the containers', and little", ecitest.Switches{MemoryDirUncounted: true, MemoryDirSize: 1 << 20}},
		{"one create at once, for so many vCPU", ecitest.Switches{CreatesAtOnce: 1, DefaultMaxCPU: 2, SchedulingTime: 300 * time.Millisecond}},
		{"rights of a builder", ecitest.Switches{RootlessBuilds: true}},
		{"requests are bounded", ecitest.Switches{MaxURL: 1 << 10, MaxBody: 64 << 10}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, ecitest.Options{Switches: tt.switches}).lifecycle(t)
		})
	}
}

// A job comes through each of these with its exact log and status.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rules string }{
		{"throttled", "*:error=Throttling.User,times=6,probability=0.5"},
		{"every call once throttled", "CreateContainerGroup:error=Throttling.User,times=1; DescribeContainerGroups:error=503,times=1; DeleteContainerGroup:error=500,times=1"},
		{"an exec refused", "ExecContainerCommand:error=503,times=1"},
		{"cut before it took effect", "*:cut=before,times=1; DeleteContainerGroup:cut=before,times=1"},
		{"cut after it took effect", "CreateContainerGroup:cut=after,times=1; DeleteContainerGroup:cut=after,times=1; ExecContainerCommand:cut=after,times=1"},
		{"answers cut short", "CreateContainerGroup:truncate=20,times=1; DescribeContainerGroups:truncate=100,times=1; ExecContainerCommand:truncate=0,times=1"},
		{"slow", "*:delay=50ms,delay-after=50ms"},

		{"handshake refused twice", "exec:refuse,times=2"},
		{"host out of reach once", "exec:unreachable,times=1"},
		{"address used too late", "exec:expired,times=1"},
		{"started at the call, then not", "exec:start=call,drop=0,times=1"},
		{"dropped before the first byte", "exec:drop=0,times=1"},
		{"dropped three times in the log", "exec:drop=1000,times=3"},
		{"dropped again and again", "exec:drop-every=50ms,times=5"},
		{"closed for silence", "exec:idle=200ms,times=2"},
		{"half-open", "exec:half-open=1000,times=1"},
		{"single bytes", "exec:split=1"},
		{"merged frames", "exec:merge"},
		{"text frames", "exec:text"},
		{"no channel byte", "exec:unprefixed"},
		{"empty frames", "exec:empty-frames"},
		{"stdin lost", "exec:stdin-stop=10,times=1"},
		{"one byte of stdin lost", "exec:stdin-lose=10,times=1"},
		{"cut in the upload", "exec:stdin-cut=10,times=1"},
		{"the end swallowed", "exec:swallow=40,times=2"},

		{"hidden", "group:hidden=1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			newWorld(t, ecitest.Options{Faults: faults(t, strings.Split(tt.rules, "; ")...)}).lifecycle(t)
		})
	}
}

// A script may outlive any number of sockets, whether they break or are closed in
// good order.
func TestScriptOutlivesItsSockets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options ecitest.Options
	}{
		{"broken", ecitest.Options{Faults: faults(t, "exec:drop-every=500ms")}},
		{"closed", ecitest.Options{Switches: ecitest.Switches{ExecLifetime: 500 * time.Millisecond}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.options)
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("prepare: %v\n%s", err, out)
			}
			var want strings.Builder
			for i := range 15 {
				fmt.Fprintf(&want, "line %d\n", i)
			}
			log, err := w.run(t, "build_script", "i=0; while [ $i -lt 15 ]; do echo line $i; i=$((i+1)); sleep 0.1; done")
			if err != nil || log != want.String() {
				t.Errorf("log %q, %v", log, err)
			}
			if execs := w.calls()["ExecContainerCommand"]; execs < 2 {
				t.Errorf("%d execs: no socket has ended, the test shows nothing", execs)
			}
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// faults are those of rules, with a seed that the log tells.
func faults(t testing.TB, texts ...string) ecitest.Faults {
	t.Helper()
	rules, err := ecitest.ParseRules(texts...)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return ecitest.Faults{Rules: rules, Seed: seed}
}
