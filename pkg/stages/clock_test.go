package stages

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// statusAPI answers what a board asks for.
type statusAPI struct {
	API
	asked int
}

func (a *statusAPI) DescribeContainerGroupStatus(context.Context, map[string]string) ([]eci.GroupStatus, error) {
	a.asked++
	return []eci.GroupStatus{{ID: "eci-new"}}, nil
}

// What a host knows was learned under a clock that was an hour or a year ahead: it is
// good for no longer than otherwise.
func TestMemoryOfAClockThatWasAhead(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			api := &statusAPI{}
			s := leasing(t, t.TempDir(), "0123abcd")
			s.API, s.Stderr, s.Clock = api, t.Output(), &waitingClock{now: turnsBegin.Add(ahead)}
			s.board(t.Context(), board{})
			s.noteNoExecs()
			saveCache(s.store().unreachedPath(s.Config.Region), unreached{Host: "eci", At: s.Clock.Now()})
			if s.execsWhilePending() || s.transport(&Record{}, nil).sync == nil {
				t.Fatal("nothing was learned: the test shows nothing")
			}

			s.Clock = &waitingClock{now: turnsBegin}
			if s.board(t.Context(), board{}); api.asked != 2 {
				t.Errorf("%d questions about all groups, want another one", api.asked)
			}
			if !s.execsWhilePending() {
				t.Error("no exec is tried in a group that is Pending")
			}
			if s.transport(&Record{}, nil).sync != nil {
				t.Error("the WebSocket is not tried")
			}
		})
	}
}

// The looks that are left of an attempt whose cleanup began under a clock that was ahead
// come as they would have by the clock as it is.
func TestLooksAfterTheClockWasSetBack(t *testing.T) {
	begin := turnsBegin
	r := &Record{Over: begin.Add(365 * 24 * time.Hour)}
	r.looked(r.Over)
	var looked []time.Duration
	for after := time.Duration(0); after < 2*time.Hour; after += 10 * time.Second {
		if !r.due(begin.Add(after)) {
			continue
		}
		looked = append(looked, after)
		if r.looked(begin.Add(after)) {
			break
		}
	}
	if diff := cmp.Diff([]time.Duration{0, 30 * time.Second, 5 * time.Minute, time.Hour}, looked); diff != "" {
		t.Errorf("looks (-want +got):\n%s", diff)
	}
}
