package stages

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Cleanup deletes every group of the attempt: the recorded one, and whatever carries its
// tags. It does not wait for the groups to be gone. Before anything else it records that
// the attempt is over, and it removes that record only when nothing is left to do, so that
// later prepares and reap finish what this process can't. The group of a failed job may be
// kept instead: see keeps.
func (s *Stage) Cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Config.Timeouts.Delete)
	defer cancel()
	path := s.store().recordPath(s.Job)
	release, _ := s.store().hold(path) // on an error another process has claimed the attempt, to delete its groups too
	defer release()
	if s.keeps(ctx) {
		relay.Quit(s.relaySocket(), handOver)
		return nil
	}
	var quit sync.WaitGroup   // beside the rest: the relay serves nobody any more, but takes a moment to end
	socket := s.relaySocket() // named here: the stage may move to another region meanwhile
	quit.Go(func() { relay.Quit(socket, handOver) })
	defer quit.Wait()
	doubt := s.createdUnknown()
	first := false // this is the attempt's first cleanup
	// An error is kept for the end: the groups are deleted even where nothing can be recorded.
	record, stateErr := s.store().update(path, func(r *Record) *Record {
		if r == nil {
			r = s.newRecord()
		}
		first = r.Over.IsZero() && !r.Kept
		if r.Over.IsZero() {
			r.Over = s.Clock.Now()
		}
		r.Params = nil
		return r
	})
	s.group = record.GroupID
	var away error
	if record.elsewhere(s.Config.Region) {
		away = fmt.Errorf("container group %s may still be running in %s, which the driver's file named when it was made: reap with that region in the driver's file",
			cmp.Or(record.GroupID, record.Name), record.Region)
		if !s.moveTo(record.Region) {
			s.logCost(record, s.Clock.Now(), first)
			return errors.Join(stateErr, away)
		}
	}
	deleted, found, err := s.deleteAttempt(ctx, record, s.Config.Timeouts.Delete)
	for _, id := range deleted {
		s.printf("Container group %s is being deleted\n", id)
	}
	s.logCost(record, s.Clock.Now(), first)
	if err != nil {
		return errors.Join(withAdvice(err), away, stateErr)
	}
	switch {
	case found == foundUnknown:
		return stateErr // its record is for the next look
	case found == foundNone && doubt:
		_, err = s.amend(func(r *Record) { r.looked(s.Clock.Now()) })
		return errors.Join(stateErr, err)
	}
	if record.Cost != nil { // prepare has succeeded, so the runner makes no other attempt
		s.store().endNote(s.Job, s.Clock.Now())
	}
	return errors.Join(stateErr, s.store().removeRecord(s.Job))
}

// moveTo has the stage call the API of another region, which the driver's file named when the
// attempt's group was made. False where that API can't be called.
func (s *Stage) moveTo(region string) bool {
	cfg := s.Config.In(region)
	if cfg == nil || s.Dial == nil {
		return false
	}
	api, err := s.Dial(cfg)
	if err != nil {
		return false
	}
	s.Config, s.API = cfg, api
	return true
}

// createdUnknown tells whether a group of the attempt may exist even if none is found now:
// an intent or an id was recorded, or nothing is known, because the job's note is missing
// and so this state_dir is not the one that prepare used.
func (s *Stage) createdUnknown() bool {
	record, recordErr := s.store().loadRecord(s.Job)
	note, noteErr := s.store().loadNote(s.Job)
	return record != nil || recordErr != nil || noteErr != nil || note.First.IsZero()
}

// finding is what came of one look for the groups of an attempt.
type finding int

const (
	foundNone    finding = iota // no group
	foundUnknown                // a group is listed whose delete the API does not know
	foundEnding                 // groups, all of which are being deleted, by us or by somebody else
)

// deleteAttempt deletes the groups of a record and returns the ids of those whose delete was
// accepted, and what was found. That the API does not know an id, recorded or listed, proves
// nothing: the group may be too new.
func (s *Stage) deleteAttempt(ctx context.Context, record *Record, persistence time.Duration) (deleted []string, found finding, err error) {
	var errs []error
	settled := map[string]bool{} // ids that need no second delete
	remove := func(id string) {
		err := deleteGroup(ctx, s.API, id, persistence)
		switch {
		case err == nil:
			deleted = append(deleted, id)
		case eci.ClassOf(err) == eci.NotFound:
			return
		default:
			errs = append(errs, err)
		}
		settled[id] = true
	}
	var groups []eci.Group
	var look sync.WaitGroup // beside the delete, so that only one of the two calls is waited for
	look.Go(func() {
		err = eci.Persist(ctx, persistence, func() (err error) {
			groups, err = s.API.DescribeContainerGroups(ctx, eci.Query{Tags: record.Tags})
			return err
		})
	})
	if record.GroupID != "" {
		remove(record.GroupID)
	}
	look.Wait()
	if err != nil {
		errs = append(errs, fmt.Errorf("looking for other groups of the attempt: %w", err))
	}
	listed, unknown := false, false
	for _, g := range groups {
		// Tags are a filter of the server's; what is deleted is checked here.
		if settled[g.ID] || !hasTags(&g, record.Tags) {
			continue
		}
		if g.Status != statusTerminating {
			remove(g.ID)
			unknown = unknown || !settled[g.ID]
		}
		listed = true
	}
	switch {
	case unknown:
		found = foundUnknown
	case listed, len(deleted) > 0:
		found = foundEnding
	}
	return deleted, found, errors.Join(errs...)
}

// statusTerminating is the status of a group whose delete was accepted.
const statusTerminating = "Terminating"

// deleteGroup asks for the end of a group until the API accepts that, refuses it for good or
// does not know the id, which is an error of class NotFound.
func deleteGroup(ctx context.Context, api API, id string, persistence time.Duration) error {
	again := func(c eci.Class) bool { return c != eci.NotFound && c != eci.Stop && c != eci.Config }
	err := eci.PersistOn(ctx, persistence, again, func() error { return api.DeleteContainerGroup(ctx, id, true) })
	if err != nil {
		return fmt.Errorf("container group %s may still be running: %w", id, err)
	}
	return nil
}

func (s *Stage) store() store { return store{s.Config.StateDir} }

func (s *Stage) printf(format string, args ...any) {
	fmt.Fprintf(s.Stdout, format, args...) //nolint:errcheck // a lost log line changes nothing that is done
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never returns an error (Go 1.24)
	return hex.EncodeToString(b)
}
