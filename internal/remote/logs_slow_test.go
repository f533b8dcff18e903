package remote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// trickle is an exec whose output a test writes into a pipe.
type trickle struct{ *io.PipeReader }

func (trickle) Write(p []byte) (int, error) { return len(p), nil }
func (trickle) Stderr() string              { return "" }

// A record that takes a slow connection longer than the idle limit is waited for, as long
// as bytes come.
func TestReadLogOverASlowConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const run, text = "0123456789abcdef", "a line\n"
		settings, execs := DefaultSettings(), 0
		logger := logrus.New()
		logger.SetOutput(t.Output())
		var log strings.Builder
		s := &Session{Settings: settings, Logger: logger, Output: &log,
			Diagnose: func(context.Context) error { return nil },
			Open: func(context.Context, Role, []string) (Stream, error) {
				execs++
				r, w := io.Pipe()
				go func() {
					fmt.Fprintf(w, "#hello %s build.1\n#data 0 %d\n", run, len(text))
					for i := range text {
						time.Sleep(settings.Idle / 2)
						w.Write([]byte{text[i]})
					}
					fmt.Fprintf(w, "\n#ok %d\n#end %s 0 %[1]d %[3]x none %[3]x\n", len(text), run, sha256.Sum256([]byte(text)))
				}()
				return trickle{r}, nil
			},
		}
		result, err := s.ReadLog(t.Context(), false, func(Role) {})
		if err != nil || result.Status != "0" || log.String() != text || execs != 1 {
			t.Errorf("status %q, log %q, %d execs, error %v", result.Status, log.String(), execs, err)
		}
	})
}
