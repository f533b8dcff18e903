package stages

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// deletingAPI lists no group and takes every delete.
type deletingAPI struct {
	API
	deleted []string
}

func (a *deletingAPI) DeleteContainerGroup(_ context.Context, id string, _ bool) error {
	a.deleted = append(a.deleted, id)
	return nil
}

func (a *deletingAPI) DescribeContainerGroups(context.Context, eci.Query) ([]eci.Group, error) {
	return nil, nil
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
