package stages

import (
	"os"
	"testing"

	"github.com/eci-executor/eci-executor/internal/relay"
)

// A relay that has not answered at a script's end is replaced, whether or not anybody
// still waits for it then.
func TestReplaceRelay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		answers  []answer
		replaced bool
	}{
		{"it has not answered yet", nil, true},
		{"it did not in all that time", []answer{{err: relay.ErrWedged}}, true},
		{"it was killed meanwhile", []answer{{err: relay.ErrGone}}, true},
		{"it had no exec", []answer{{err: relay.ErrNone}}, false},
		{"another stage had it", []answer{{err: relay.ErrBusy}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := leasing(t, t.TempDir(), "0123abcd")
			s.Relay = "/bin/true"
			late := make(chan answer, 1)
			for _, a := range tt.answers {
				late <- a
			}
			x := &transport{stage: s, record: s.newRecord(), late: late}
			x.replaceRelay()
			if _, err := os.Stat(s.relaySocket()); (err == nil) != tt.replaced {
				t.Errorf("the socket of another relay: %v; it is to be replaced: %t", err, tt.replaced)
			}
		})
	}
}
