package stages

import (
	"context"
	"strings"
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

// A job whose first prepare began under a clock that was ahead has its [timeouts] ready
// from then on when the clock is right, and no more; what failed then may be asked again.
func TestBudgetAfterTheClockWasSetBack(t *testing.T) {
	s := leasing(t, t.TempDir(), "0123abcd")
	begin := time.Now() // else the note would be pruned for the age of its file
	s.Clock = &waitingClock{now: begin.Add(12 * time.Hour)}
	note, err := s.startNote()
	if err != nil {
		t.Fatal(err)
	}
	note.Failure = "QuotaExceeded"
	if err := s.store().saveNote(s.Job, note); err != nil {
		t.Fatal(err)
	}
	s.Clock = &waitingClock{now: begin}
	if by := s.startBy(note); !by.Equal(begin.Add(s.Config.Timeouts.Ready)) {
		t.Errorf("what prepare has left may start until %s, %s from now", by, by.Sub(begin))
	}
	note, err = s.startNote()
	if err != nil || !note.First.Equal(begin) {
		t.Errorf("the budget begins at %s, %v; want %s", note.First, err, begin)
	}
}

// Who comes back by hand with the cause mended is told when that counts; a runner's retry
// is another job.
func TestFailedForGoodByHand(t *testing.T) {
	begin := time.Now() // else the note would be pruned for the age of its file
	for _, byHand := range []bool{false, true} {
		s := leasing(t, t.TempDir(), "0123abcd")
		s.Job.ByHand = byHand
		s.Clock = &waitingClock{now: begin.Add(time.Minute)}
		if err := s.store().saveNote(s.Job, Note{First: begin, Failure: "SignatureDoesNotMatch"}); err != nil {
			t.Fatal(err)
		}
		_, err := s.startNote()
		if err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
			t.Fatal(err)
		}
		hour := begin.Add(s.Config.Timeouts.Ready + time.Minute).UTC().Format(hourLayout)
		if strings.Contains(err.Error(), "by hand asks ECI again from "+hour) != byHand {
			t.Errorf("by hand %v: %v", byHand, err)
		}
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
