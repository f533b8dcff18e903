package stages

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// deletingAPI takes every delete, or answers each with an error.
type deletingAPI struct {
	API
	listed  []eci.Group
	refusal error
	deleted []string
}

func (a *deletingAPI) DeleteContainerGroup(_ context.Context, id string, _ bool) error {
	if a.refusal != nil {
		return a.refusal
	}
	a.deleted = append(a.deleted, id)
	return nil
}

func (a *deletingAPI) DescribeContainerGroups(context.Context, eci.Query) ([]eci.Group, error) {
	return a.listed, nil
}

// After a time in which no delete was answered, many prepares begin at once: each settles
// what no other one does.
func TestPreparesSettleDifferentAttempts(t *testing.T) {
	api := &deletingAPI{}
	s := leasing(t, t.TempDir(), "0123abcd")
	s.API = api
	for i := range 2*mostSettled + 1 {
		path := filepath.Join(s.Config.StateDir, fmt.Sprintf("gitlab-com-j1%02d-a0123abcd.attempt.json", i))
		if err := save(path, &Record{GroupID: fmt.Sprintf("eci-%02d", i), Over: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if i < mostSettled { // by another prepare
			release, err := s.store().claim(path)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
		}
	}
	s.settleUnfinished(t.Context())
	if got := fmt.Sprint(api.deleted); got != "[eci-05 eci-06 eci-07 eci-08 eci-09]" {
		t.Errorf("%s are deleted, want the first five of those that nobody else settles", got)
	}
}

// A group that is listed may be too new for the delete: however late, a look that lists
// one is not one that found nothing.
func TestSettleGroupThatDeleteDoesNotKnow(t *testing.T) {
	clock := &waitingClock{now: turnsBegin}
	s := leasing(t, t.TempDir(), "0123abcd")
	s.Clock, s.Stdout = clock, t.Output()
	record := s.newRecord()
	api := &deletingAPI{listed: []eci.Group{{ID: "eci-1", Tags: record.Tags}}, refusal: &eci.Error{Code: "InvalidParameter.NotFound", HTTPStatus: 400}}
	s.API = api
	if err := s.store().saveNote(s.Job, Note{First: clock.now}); err != nil { // with it and without a record nothing is in doubt
		t.Fatal(err)
	}
	if err := s.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if paths, err := s.store().records(); err != nil || len(paths) != 1 {
			t.Fatalf("after %s there are %d records, want the one of the group (%v)", clock.now.Sub(turnsBegin), len(paths), err)
		}
		clock.now = clock.now.Add(time.Hour)
		s.settleUnfinished(t.Context())
	}
	if err := s.settleOwn(t.Context()); err == nil || !strings.Contains(err.Error(), "run cleanup again") {
		t.Errorf("to prepare the attempt again gives %v", err)
	}
	api.refusal = nil
	s.settleUnfinished(t.Context())
	if paths, err := s.store().records(); err != nil || len(paths) != 0 || len(api.deleted) != 1 {
		t.Errorf("%d records are left and %s is deleted (%v)", len(paths), api.deleted, err)
	}
}
