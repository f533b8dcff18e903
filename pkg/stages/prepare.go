package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Prepare creates the job's container group and returns when helper and build
// run. Interrupted anywhere, it leaves a record by which cleanup finds the group.
func (s *Stage) Prepare(ctx context.Context) error {
	note, err := s.startNote()
	if err != nil {
		return err
	}
	spec, err := groupSpec(s.Config, s.Job, s.Clock.Now())
	if err != nil {
		return err
	}
	done, err := s.takeUp(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.printf("Container group %s: %g vCPU, %g GiB, image %s\n", spec.Name, spec.CPU, spec.MemoryGiB, buildImage(s.Config, s.Job))
	started := s.Clock.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, note.First.Add(s.Config.Timeouts.Ready), errNotReady)
	defer cancel()
	record, err := s.create(ctx, spec)
	if err == nil {
		s.printf("Container group %s is being created\n", record.GroupID)
		err = s.awaitRunning(ctx, record.GroupID)
	}
	if err != nil {
		return s.prepareFailed(ctx, note, err)
	}
	s.printf("Container group %s is ready after %s\n", record.GroupID, s.Clock.Now().Sub(started).Round(100*time.Millisecond))
	return nil
}

var errNotReady = errors.New("[timeouts] ready is over")

// startNote opens the job's one budget of time for all its attempts, and ends an
// attempt that can't do better than the one before.
func (s *Stage) startNote() (Note, error) {
	now := s.Clock.Now()
	s.store().prune(now)
	note, err := s.store().loadNote(s.Job)
	if err != nil {
		return note, err
	}
	if note.Failure != "" {
		return note, fmt.Errorf("an earlier attempt failed for good: %s", note.Failure)
	}
	ready := s.Config.Timeouts.Ready
	// A stage by hand may come back to the same job after hours.
	if note.First.IsZero() || now.Sub(note.First) > ready+time.Minute {
		note.First = now
		return note, s.store().saveNote(s.Job, note)
	}
	return note, nil
}

// prepareFailed says what came of the budget and keeps a failure that no other
// attempt can heal.
func (s *Stage) prepareFailed(ctx context.Context, note Note, err error) error {
	if errors.Is(context.Cause(ctx), errNotReady) {
		err = fmt.Errorf("the container group was not ready within [timeouts] ready = %s: %w", s.Config.Timeouts.Ready, err)
	}
	var apiError *eci.Error
	if class := eci.ClassOf(err); class == eci.Stop || class == eci.Config {
		note.Failure = err.Error()
		err = errors.Join(err, s.store().saveNote(s.Job, note))
	}
	if errors.As(err, &apiError) && apiError.Advice() != "" {
		err = fmt.Errorf("%w\n%s", err, apiError.Advice())
	}
	return err
}

// create stores the whole request as intent, then sends it, byte for byte the
// same on each retry: the client token makes the answer to all of them one group.
func (s *Stage) create(ctx context.Context, spec eci.GroupSpec) (*Record, error) {
	record, err := s.store().loadRecord(s.Job)
	if err != nil {
		return nil, err
	}
	doubt := record != nil // whether a call may have taken effect without its answer
	if record == nil {
		spec.ClientToken = randomHex(16)
		record = s.newRecord()
		record.Params, record.Expires = spec.Params(), expiry(spec.Tags)
		if err := s.intend(record); err != nil {
			return nil, err
		}
	}
	if record.GroupID != "" {
		return record, nil
	}
	err = eci.Persist(ctx, persistence, func() error {
		id, err := s.API.CreateContainerGroup(ctx, record.Params)
		record.GroupID = id
		doubt = doubt || eci.Ambiguous(err)
		return err
	})
	if err != nil && !doubt {
		err = errors.Join(err, s.store().removeRecord(s.Job)) // refused, so there is nothing to find
	}
	if err != nil {
		return nil, err
	}
	return record, s.created(ctx, record)
}
