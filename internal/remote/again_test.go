package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// What an exec has read of the log and could not deliver, the next one tells at once,
// though the script has written nothing since.
func TestNextExecTellsWhatWasLost(t *testing.T) {
	const script = "echo first; until [ -e /builds/go ]; do sleep 0.05; done; echo last"
	tests := []struct {
		name string
		lose func(g *group)
	}{
		{"a connection that ends in a record", func(g *group) {
			g.faulty = func(n int, s *execStream) Stream {
				if n == 0 {
					return &cutter{s, 48} // in the first record's head
				}
				return s
			}
		}},
		{"answers of Sync execs that are lost", func(g *group) {
			g.answered = func(n int, _ []string, output string) (string, error) {
				if n < 3 {
					return "", errors.New("connection reset by peer")
				}
				return output, nil
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGroup(t, nil)
			tt.lose(g)
			log := marker{text: "first\n", seen: make(chan struct{})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				result, err := g.session(t, &log).Run(ctx, Job{Role: Build, Shell: "bash", Body: []byte(script)})
				if err == nil && result.Status != 0 {
					err = fmt.Errorf("status %d", result.Status)
				}
				ended <- err
			}()
			select {
			case <-log.seen:
				g.outputOf(t, Build, "true >/builds/go")
				if err := <-ended; err != nil || log.String() != "first\nlast\n" {
					t.Errorf("log %q, error %v", log.String(), err)
				}
			case err := <-ended:
				t.Fatalf("what was lost never came: %v", err)
			}
		})
	}
}

// A driver that is killed leaves an exec that follows its script. One for a script in the
// other container is not kept from hearing of its own.
func TestExecThatAKilledDriverLeft(t *testing.T) {
	inShells(t, nil, func(t *testing.T, g *group) {
		stream, err := g.open(t.Context(), Helper, []string{"sh", scriptPath, "attach", "0123456789abcdef", "first", "build", "bash", "23", "0", "nonce", "15000"})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := io.WriteString(stream, "echo ready; sleep 86400nonce\n"); err != nil {
			t.Fatal(err)
		}
		var heard strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(heard.String(), "#ok"); {
			n, err := stream.Read(buffer)
			if heard.Write(buffer[:n]); err != nil {
				t.Fatalf("%q, %v", heard.String(), err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 10 {
			var log bytes.Buffer
			session := g.session(t, &log)
			session.Settings = DefaultSettings()
			result, err := session.Run(ctx, Job{Role: Helper, Shell: "sh", Body: []byte("echo a; sleep 0.2; echo b; exit 3")})
			if err != nil || result.Status != 3 || result.Execs != 1 || log.String() != "a\nb\n" {
				t.Fatalf("status %d, log %q, %d execs, error %v", result.Status, log.String(), result.Execs, err)
			}
		}
	})
}
