package remote

import "testing"

// TestStopLeavesTimeToCleanUp: whichever way a script is asked to end, it has some
// seconds for what it does on TERM.
func TestStopLeavesTimeToCleanUp(t *testing.T) {
	const script = `trap 'trap "" TERM; sleep 1; echo done >/builds/cleaned; exit' TERM; echo ready; while :; do sleep 0.1; done`
	tests := []struct {
		name string
		set  func(g *group)
	}{
		{"through the stream", func(*group) {}},
		{"by an exec", func(g *group) {
			g.faulty = func(n int, s *execStream) Stream {
				if n == 0 {
					return &deaf{s, len(script) + afterScript}
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
			stopMidwayOf(t, g, Build, script)
			if got := g.outputOf(t, Helper, "cat /builds/cleaned"); got != "done" {
				t.Errorf("it was ended before it had cleaned up: %q", got)
			}
		})
	}
}
