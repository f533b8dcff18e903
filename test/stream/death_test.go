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
	tests := []struct {
		name  string
		death func(w *world, id string) error
		cause string
	}{
		{"build is killed", func(w *world, id string) error { return w.server.KillContainer(id, "build") }, "exit code 137"},
		{"the spot instance is reclaimed", func(w *world, id string) error { return w.server.ReclaimGroup(id, 0) }, "reclaimed"},
		{"deleted from outside", func(w *world, id string) error { return w.server.DeleteGroup(id) }, "ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kinds()[0], eci.Options{}, remote.DefaultSettings())
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
			// It is 1 s; a busy machine gets more. A group that is not listed at all is gone for
			// certain after three absences over 10 s.
			if took > time.Minute/2 {
				t.Errorf("it ended after %s", took)
			}
		})
	}
}
