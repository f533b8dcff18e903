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

// Cleanup deletes every group of the attempt: the recorded one first, then
// whatever carries its tags. It does not wait for the groups to be gone. That the
// attempt is over is recorded before anything else and until nothing is left to
// do, so that later prepares and reap finish what this process can't. The group of
// a failed job may be kept instead, see keeps.
func (s *Stage) Cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Config.Timeouts.Delete)
	defer cancel()
	path := s.store().recordPath(s.Job)
	release, _ := s.store().hold(path) // who claims an attempt does what is to be done here
	defer release()
	if s.keeps(ctx) {
		relay.Quit(s.relaySocket(), handOver)
		return nil
	}
	var quit sync.WaitGroup // the relay serves nobody any more, and takes its time to end
	quit.Go(func() { relay.Quit(s.relaySocket(), handOver) })
	defer quit.Wait()
	doubt := s.createdUnknown()
	// Where the state can't be written, the groups go all the same.
	first := false // cleanup of the attempt
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

// moveTo has the stage ask another region, which the driver's file named when a group was
// made, and tells whether that can be asked.
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

// createdUnknown tells whether a group of the attempt may exist though none is
// found: where an intent or an id was recorded, and where nothing tells, because
// state_dir is not the one that prepare wrote its note to.
func (s *Stage) createdUnknown() bool {
	record, recordErr := s.store().loadRecord(s.Job)
	note, noteErr := s.store().loadNote(s.Job)
	return record != nil || recordErr != nil || noteErr != nil || note.First.IsZero()
}

// finding is what one look for the groups of an attempt has come to.
type finding int

const (
	foundNone    finding = iota // none came to light
	foundUnknown                // one is listed that the delete does not know
	foundEnding                 // there were some, and all of them are being deleted
)

// deleteAttempt deletes the groups of a record and returns the ids of those whose
// delete was accepted, and what there was, be it a group that somebody else deletes. An
// id that is unknown to the API proves nothing, recorded or listed: it may be too new.
func (s *Stage) deleteAttempt(ctx context.Context, record *Record, persistence time.Duration) (deleted []string, found finding, err error) {
	var errs []error
	settled := map[string]bool{} // what needs no second call
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
	var look sync.WaitGroup // beside the delete, of which it tells nothing: a call less to wait for
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

// statusTerminating is that of a group whose delete was accepted.
const statusTerminating = "Terminating"

// deleteGroup asks for the end of a group until the API accepts it, refuses it
// for good or does not know the id.
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
