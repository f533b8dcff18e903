package stream

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// began is a log that tells when its first line has come.
type began struct {
	bytes.Buffer
	line chan struct{}
}

func (b *began) Write(p []byte) (int, error) {
	if n := strings.Count(b.String(), "\n"); n == 0 && bytes.Contains(p, []byte("\n")) {
		defer close(b.line)
	}
	return b.Buffer.Write(p)
}

// TestDeath: at the driver's own times, the death of a container or of the group ends
// the stage soon, with its cause and all that was logged.
func TestDeath(t *testing.T) {
	t.Parallel()
	killed := func(w *world, id string) error { return w.server.KillContainer(id, "build") }
	apart := ecitest.Switches{FIFOsApart: true}
	tests := []struct {
		name  string
		kind  kind
		death func(w *world, id string) error
		cause string
	}{
		{"build is killed", kinds()[0], killed, "exit code 137"},
		// No FIFO tells helper; what does is that build answers its ping no more.
		{"build is killed, FIFOs apart", kind{name: "apart", switches: apart}, killed, "exit code 137"},
		{"build is killed, FIFOs apart, no WebSocket", kind{name: "sync apart", transport: "sync", switches: apart}, killed, "exit code 137"},
		{"the spot instance is reclaimed", kinds()[0], func(w *world, id string) error { return w.server.ReclaimGroup(id, 0) }, "reclaimed"},
		{"deleted from outside", kinds()[0], func(w *world, id string) error { return w.server.DeleteGroup(id) }, "ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.kind, eci.Options{}, remote.DefaultSettings())
			w.prepare()
			defer w.cleanup()
			script := filepath.Join(w.dir, "script")
			must(t, os.WriteFile(script, []byte("echo begun; sleep 300"), 0o700))
			out := &began{line: make(chan struct{})}
			stage := w.stage(new(bytes.Buffer))
			stage.Stdout = out
			ended := make(chan error, 1)
			go func() { ended <- stage.Run(context.Background(), script, "build_script") }()
			<-out.line
			died := time.Now()
			must(t, tt.death(w, w.server.Live()[0]))
			err := <-ended
			took := time.Since(died)
			t.Logf("after %s: %v", took.Round(time.Millisecond), err)
			if err == nil || !strings.Contains(err.Error(), tt.cause) || out.String() != "begun\n" {
				t.Errorf("log %q, error %v, want %q", out.String(), err, tt.cause)
			}
			// It is 1 s, and 7 s where FIFOs don't join; a busy machine gets more. A group that is not listed at all is gone for
			// certain after three absences over 10 s.
			if took > time.Minute/2 {
				t.Errorf("it ended after %s", took)
			}
		})
	}
}
