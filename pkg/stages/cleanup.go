package stages

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Cleanup deletes every group of the attempt: the recorded one first, then
// whatever carries its tags. It does not wait for the groups to be gone. What it
// could not delete or find stays recorded for later prepares and reap.
func (s *Stage) Cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Config.Timeouts.Delete)
	defer cancel()
	record, err := s.store().loadRecord(s.Job)
	if err != nil {
		return err // the file is kept; reap finds the group by its tags
	}
	found := &Record{Tags: attemptTags(s.Config, s.Job)}
	if record != nil {
		found = record
	}
	deleted, err := s.deleteGroups(ctx, found)
	for _, id := range deleted {
		s.printf("Container group %s is being deleted\n", id)
	}
	s.logCost(found)
	switch {
	case err != nil && record != nil:
		return errors.Join(err, s.doubt(record))
	case err != nil:
		return err
	case record == nil:
		return nil
	case record.GroupID == "" && len(deleted) == 0:
		// The create call may have taken effect without its answer, and the
		// group not be listed yet.
		return s.doubt(record)
	}
	return s.store().removeRecord(s.Job)
}

// doubt keeps the record for a later look.
func (s *Stage) doubt(record *Record) error {
	record.Over, record.Params = s.Clock.Now(), nil
	return s.store().saveRecord(s.Job, record)
}

// deleteGroups deletes the groups of a record and returns their ids.
func (s *Stage) deleteGroups(ctx context.Context, record *Record) (deleted []string, err error) {
	var errs []error
	remove := func(id string) {
		if err := s.deleteGroup(ctx, id); err != nil {
			errs = append(errs, err)
			return
		}
		deleted = append(deleted, id)
	}
	if record.GroupID != "" {
		remove(record.GroupID)
	}
	var groups []eci.Group
	err = eci.Persist(ctx, persistence, func() (err error) {
		groups, err = s.API.DescribeContainerGroups(ctx, eci.Query{Tags: record.Tags})
		return err
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("looking for other groups of the attempt: %w", err))
	}
	for _, g := range groups {
		// Tags are a filter of the server's; what is deleted is checked here.
		if g.ID != record.GroupID && !g.Terminal() && hasTags(g, record.Tags) && !slices.Contains(deleted, g.ID) {
			remove(g.ID)
		}
	}
	return deleted, errors.Join(errs...)
}

func hasTags(g eci.Group, want map[string]string) bool {
	for k, v := range want {
		if g.Tags[k] != v {
			return false
		}
	}
	return len(want) > 0
}

func (s *Stage) deleteGroup(ctx context.Context, id string) error {
	err := eci.Persist(ctx, persistence, func() error { return s.API.DeleteContainerGroup(ctx, id, true) })
	if err != nil && eci.ClassOf(err) != eci.NotFound {
		return fmt.Errorf("%s may still be running: %w", id, err)
	}
	return nil
}

// looks are the times after an unfinished cleanup at which later prepares look
// for its groups once more.
func looks() []time.Duration { return []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour} }

// settleUnfinished finishes what cleanups of earlier jobs could not. It never
// holds up the job at hand by a failure.
func (s *Stage) settleUnfinished(ctx context.Context) {
	records, err := s.store().unfinished()
	if err != nil {
		s.Logger.WithError(err).Warn("looking for unfinished cleanups")
		return
	}
	for path, r := range records {
		due := looks()
		if r.Looks < len(due) && s.Clock.Now().Sub(r.Over) < due[r.Looks] {
			continue
		}
		deleted, err := s.deleteGroups(ctx, r)
		if err != nil {
			s.Logger.WithError(err).Warn("finishing an earlier job's cleanup")
			continue
		}
		r.Looks++
		if r.GroupID != "" || len(deleted) > 0 || r.Looks >= len(due) {
			err = remove(path)
		} else {
			err = save(path, r)
		}
		if err != nil {
			s.Logger.WithError(err).Warn("recording an earlier job's cleanup")
		}
	}
}

func (s *Stage) store() store { return store{s.Config.StateDir} }

func (s *Stage) printf(format string, args ...any) {
	fmt.Fprintf(s.Stdout, format, args...) //nolint:errcheck // a lost log line changes nothing that is done
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never returns an error (Go 1.24)
	return hex.EncodeToString(b)
}
