package remote

import (
	"context"
	"testing"
	"time"
)

// cleaning takes some seconds to clean up on TERM.
const cleaning = `trap 'trap "" TERM; sleep 1; echo done >/builds/cleaned; exit' TERM; echo ready; while :; do sleep 0.1; done`

// TestStopLeavesTimeToCleanUp: whichever way a script is asked to end, it has some
// seconds for what it does on TERM.
func TestStopLeavesTimeToCleanUp(t *testing.T) {
	tests := []struct {
		name string
		set  func(g *group)
	}{
		{"through the stream", func(*group) {}},
		{"by an exec", func(g *group) {
			g.faulty = func(n int, s *execStream) Stream {
				if n == 0 {
					return &deaf{s, len(cleaning) + afterScript}
				}
				return s
			}
		}},
		{"by a poll", func(g *group) { g.answered = whole }},
		{"by a Sync exec", func(g *group) { g.answered, g.refuses = whole, askStop }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, nil)
			tt.set(g)
			stopMidwayOf(t, g, Build, cleaning)
			if got := g.outputOf(t, Helper, "cat /builds/cleaned"); got != "done" {
				t.Errorf("it was ended before it had cleaned up: %q", got)
			}
		})
	}
}

// TestStopBesideAPoll: the poll that a stop interrupts lives on in helper, and has no say
// in how soon the script is killed.
func TestStopBesideAPoll(t *testing.T) {
	g := newGroup(t, nil)
	g.answered, g.idle = whole, time.Minute
	log := marker{text: "ready", seen: make(chan struct{})}
	session := g.session(t, &log)
	settings := session.Settings
	settings.PollHold = 15 * time.Second
	session.Open = g.sync(settings).Open
	session.Settings.StopLimit, session.Settings.StopConfirm = time.Minute, 10*time.Second
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := session.Run(ctx, Job{Role: Build, Shell: "bash", Body: []byte(cleaning)})
		done <- err
	}()
	log.await(t, done)
	g.outputOf(t, Helper, `until cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -q '[s]ync poll .* tail'; do sleep 0.01; done`)
	cancel()
	if err := <-done; err != ErrStopped { //nolint:errorlint // joined with a doubt it is another error
		t.Errorf("error %v, want exactly ErrStopped", err)
	}
	if got := g.outputOf(t, Helper, "cat /builds/cleaned"); got != "done" {
		t.Errorf("it was ended before it had cleaned up: %q", got)
	}
}
