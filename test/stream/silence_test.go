package stream

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// TestSilenceUnscaled: at the driver's own times, a script that is silent for longer
// than ECI keeps a silent socket keeps its connection, by pings or by beats, and the
// API is asked once a minute how the group is.
func TestSilenceUnscaled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 90 s")
	}
	for _, k := range []kind{
		{name: "pings count"},
		{name: "pings do not count", switches: ecitest.Switches{ExecPingsIgnored: true}},
		{name: "FIFOs apart", switches: ecitest.Switches{FIFOsApart: true}},
		{name: "sync", transport: "sync"},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k, options := scaled(k, 1)
			w := newWorld(t, k, options, remote.DefaultSettings())
			w.prepare()
			asked := w.calls("DescribeContainerGroups")
			o := w.run("build_script", "echo before; sleep 90; echo after; exit 3", 5*time.Minute)
			execs := 1
			if k.bySync() {
				execs = 15 // each is a look of 10 s
			}
			if scriptStatus(o) != 3 || string(o.log) != "before\nafter\n" || o.execs > execs {
				t.Errorf("status %d, log %q, %d execs, %v\n%s", scriptStatus(o), o.log, o.execs, o.err, o.driver)
			}
			asked = w.calls("DescribeContainerGroups") - asked
			most := int(o.took / time.Minute)
			if k.switches.FIFOsApart {
				most += 2 // a build that answers late, as on a busy machine, may be dead
			}
			if asked > most {
				t.Errorf("the API was asked %d times in %s", asked, o.took)
			}
			w.cleanup()
		})
	}
}

// whole is a log that tells when all of it has come.
type whole struct {
	bytes.Buffer
	want string
	came chan struct{}
}

func (l *whole) Write(p []byte) (int, error) {
	l.Buffer.Write(p)
	if l.Len() >= len(l.want) {
		close(l.came)
	}
	return len(p), nil
}

// TestLossThenSilence: what a lost connection has not brought, or an answer had no room
// for, comes with the next one, though the script prints nothing more meanwhile.
func TestLossThenSilence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kind  kind
		rules []string
	}{
		{kind{name: "lost in the first record"}, []string{"exec:drop=9000,times=1"}},
		{kind{name: "an answer is full", transport: "sync"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.kind.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.kind, eci.Options{}, remote.DefaultSettings())
			w.prepare()
			defer w.cleanup()
			rules, err := ecitest.ParseRules(tt.rules...)
			must(t, err)
			w.server.SetFaults(ecitest.Faults{Rules: rules})
			out := &whole{want: numbered(20_000), came: make(chan struct{})}
			stage := w.stage(new(bytes.Buffer))
			stage.Stdout = out
			script := filepath.Join(w.dir, "script")
			must(t, os.WriteFile(script, []byte("seq 20000; sleep 300"), 0o700))
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- stage.Run(ctx, script, "build_script") }()
			select {
			case <-out.came:
			case <-ctx.Done():
				t.Error("not all has come while the script was silent")
			}
			cancel()
			if err := <-ended; out.String() != out.want {
				t.Errorf("%d bytes of %d: %v", out.Len(), len(out.want), err)
			}
		})
	}
}
