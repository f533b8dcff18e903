package remote

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// The pause before another exec counts from the loss: a diagnosis that has waited for
// the group, because it took no exec before all of it had started, is not added to it.
func TestBackoffCountsFromTheLoss(t *testing.T) {
	settings := DefaultSettings()
	for _, diagnosis := range []time.Duration{0, settings.BackoffMin / 4, 20 * settings.BackoffMin} {
		t.Run(diagnosis.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opened []time.Time
				over := errors.New("over")
				logger := logrus.New()
				logger.SetOutput(t.Output())
				s := &Session{Settings: settings, Logger: logger,
					Open: func(context.Context, Role, []string) (Stream, error) {
						opened = append(opened, time.Now())
						return nil, errors.New("refused")
					},
					Diagnose: func(context.Context) error {
						if len(opened) > 1 {
							return over
						}
						time.Sleep(diagnosis)
						return nil
					},
				}
				if _, err := s.Run(t.Context(), Job{Role: Helper}); !errors.Is(err, over) || len(opened) != 2 {
					t.Fatalf("%d execs, error %v", len(opened), err)
				}
				if got, want := opened[1].Sub(opened[0]), max(diagnosis, settings.BackoffMin); got != want {
					t.Errorf("the next exec came after %s, want %s", got, want)
				}
			})
		})
	}
}

// slowUplink takes a while for each 32 KiB.
type slowUplink struct{ *execStream }

func (s *slowUplink) Write(p []byte) (int, error) {
	written := 0
	for piece := range slices.Chunk(p, 32<<10) {
		if len(piece) > 1<<10 {
			time.Sleep(100 * time.Millisecond)
		}
		n, err := s.execStream.Write(piece)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// A script that takes longer on its way than a connection may be silent arrives.
func TestUploadOverASlowConnection(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.faulty = func(_ int, s *execStream) Stream { return &slowUplink{s} }
	var log bytes.Buffer
	session := g.session(t, &log)
	session.Settings.Idle = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte("echo first; exit 4\n#" + strings.Repeat("x", 1<<20))})
	if err != nil || result.Status != 4 || log.String() != "first\n" {
		t.Errorf("status %d, log %q, error %v", result.Status, log.String(), err)
	}
}

// TestNoticeOfALoss: a connection that can't be had for a while, or takes no script in, is
// told in the job's log, once, with its cause.
func TestNoticeOfALoss(t *testing.T) {
	t.Parallel()
	const times = 2
	tests := []struct {
		name, cause string
		refuses     bool
		faulty      func(n int, s *execStream) Stream
	}{
		{name: "no connection", cause: "no way to the host", refuses: true},
		{name: "no script gets in", cause: "nothing came for", faulty: func(n int, s *execStream) Stream {
			if n < times {
				return &deaf{s, 5}
			}
			return s
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, nil)
			g.faulty = tt.faulty
			var log, notices bytes.Buffer
			session := g.session(t, &log)
			session.Notices = &notices
			session.Settings.Notice, session.Settings.BackoffMax, session.Settings.Idle = time.Millisecond, 10*time.Millisecond, 3*time.Second
			tries := 0
			session.Open = func(ctx context.Context, role Role, command []string) (Stream, error) {
				if tries++; tt.refuses && tries <= times {
					return nil, errors.New("no way\nto the host")
				}
				return g.open(ctx, role, command)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte("exit 4")})
			if err != nil || result.Status != 4 {
				t.Errorf("status %d, error %v", result.Status, err)
			}
			if text := notices.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.cause) {
				t.Errorf("told %q", text)
			}
		})
	}
}
