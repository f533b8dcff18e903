package stages

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// settlePersistence is how long a call for an earlier job is repeated.
	settlePersistence = 3 * time.Second
	// mostSettled bounds what one prepare does for earlier jobs.
	mostSettled = 5
	// settleGrace is how long a prepare that is ready waits for that to end.
	settleGrace = 10 * time.Second
	// tokenLife is how long a client token is trusted to make a repeated create the same
	// group; nobody documents it.
	tokenLife = 10 * time.Minute
)

// To settle an attempt is to finish what its cleanup could not.

// alone makes sure that one prepare of the attempt runs at a time. Of several, called by
// hand, each would ask for a group with a token of its own.
func (s *Stage) alone() (release func(), err error) {
	release, err = s.store().claim(s.store().recordPath(s.Job) + ".prepare")
	if errors.Is(err, errLocked) {
		err = fmt.Errorf("attempt %s of job %d is being prepared by another process: wait until that has ended, or take another attempt id (%s)",
			s.Job.Attempt, s.Job.ID, AttemptVariable)
	}
	return release, err
}

// takeUp makes the attempt this process's own: until done is called no other process
// settles it, nothing of an earlier prepare is in the way, and reap knows that groups of
// this runner are made on this host. Meanwhile, in the background, attempts of earlier jobs
// are settled; done waits a little for that to end.
func (s *Stage) takeUp(ctx context.Context) (done func(), err error) {
	release, err := s.store().hold(s.store().recordPath(s.Job))
	if err == nil {
		err = s.settleOwn(ctx)
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("attempt %s of job %d can't be prepared: %w", s.Job.Attempt, s.Job.ID, err)
	}
	if err := s.store().remember(runnerOf(attemptTags(s.Config, s.Job))); err != nil {
		s.Logger.WithError(err).Warn("recording the runner for reap")
	}
	ctx, cancel := context.WithTimeout(ctx, s.Config.Timeouts.Delete)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		s.settleUnfinished(ctx)
	}()
	return func() {
		select {
		case <-settled:
		case <-s.Clock.After(settleGrace):
		}
		cancel()
		<-settled
		release()
	}, nil
}

// settleOwn settles an earlier prepare of the same attempt. Only stages that are called by
// hand come to one attempt twice.
func (s *Stage) settleOwn(ctx context.Context) error {
	record, err := s.store().loadRecord(s.Job)
	switch {
	case err != nil:
		return fmt.Errorf("%w; run cleanup, which finds its group by the tags", err)
	case record == nil:
		return nil
	case record.Kept:
		return fmt.Errorf("its container group %s is kept for a look until %s; run cleanup first", record.GroupID, record.KeepUntil.UTC().Format(hourLayout))
	case record.Over.IsZero():
		if age := s.Clock.Now().Sub(record.Created); record.GroupID == "" && age > tokenLife {
			return fmt.Errorf("its create call of %s ago got no answer, and may not be sent again after %s; run cleanup first", age.Round(time.Second), tokenLife)
		}
		return nil
	}
	_, found, err := s.deleteAttempt(ctx, record, s.Config.Timeouts.Delete)
	switch {
	case err != nil:
		return withAdvice(fmt.Errorf("its cleanup is not finished: %w", err))
	case found == foundUnknown:
		return errors.New("its cleanup is not finished: a container group of it is listed that the delete does not know; run cleanup again")
	case found == foundNone && record.GroupID == "" && !record.looked(s.Clock.Now()):
		last := looks()[len(looks())-1]
		return fmt.Errorf("an earlier create call of it got no answer, and its group may still appear until %s; take another attempt id (%s) or wait",
			record.Over.Add(last).Format(time.TimeOnly), AttemptVariable)
	}
	return s.store().removeRecord(s.Job)
}

// settleUnfinished settles attempts of earlier jobs, mostSettled at most. Its failures are
// logged: they are not this job's.
func (s *Stage) settleUnfinished(ctx context.Context) {
	paths, err := s.store().records()
	if err != nil {
		s.Logger.WithError(err).Warn("looking for unfinished cleanups")
		return
	}
	settled := 0
	for _, path := range paths {
		var r Record
		// A damaged file is left for a person to see: reap names it.
		if ok, err := load(path, &r); err != nil || !ok || !r.isOver(s.Clock.Now()) || !r.due(s.Clock.Now()) || r.elsewhere(s.Config.Region) {
			continue
		}
		if settled == mostSettled || ctx.Err() != nil {
			return // for the next prepare
		}
		switch err := s.settle(ctx, path); {
		case errors.Is(err, errLocked):
			continue // another process settles it; of many at once each has its own to do
		case err != nil:
			s.Logger.WithError(err).Warn("finishing an earlier job's cleanup")
		}
		settled++
	}
}

// settle finishes one attempt's cleanup, or counts one more look that found nothing.
func (s *Stage) settle(ctx context.Context, path string) error {
	release, err := s.store().claim(path)
	if err != nil {
		return err
	}
	defer release()
	var r Record
	if ok, err := load(path, &r); err != nil || !ok || !r.isOver(s.Clock.Now()) {
		return err // it was settled, or its attempt begun anew
	}
	_, err = s.finish(ctx, path, &r)
	return err
}

// finish is settle for who has claimed the attempt. done tells whether nothing of it is
// left to look for.
func (s *Stage) finish(ctx context.Context, path string, r *Record) (done bool, err error) {
	looked := s.Clock.Now()
	_, found, err := s.deleteAttempt(ctx, r, settlePersistence)
	if err != nil {
		return false, err
	}
	if found == foundEnding || found == foundNone && r.looked(looked) {
		return true, remove(path)
	}
	return false, save(path, r)
}

// intend stores the request that is about to be sent. It fails where the attempt was cleaned
// up meanwhile: that cleanup has looked for groups and will not come again.
func (s *Stage) intend(record *Record) error {
	kept, err := s.store().update(s.store().recordPath(s.Job), func(r *Record) *Record {
		if r != nil && !r.Over.IsZero() {
			return r
		}
		return record
	})
	if err == nil && kept != record {
		err = errors.New("the attempt was cleaned up before its container group was asked for")
	}
	return err
}

// created records the id that the create call gave. It deletes the group at once where
// nobody else would: the attempt was cleaned up meanwhile, or the id can't be recorded, and
// a cleanup that has only the tags may come before the group is listed.
func (s *Stage) created(ctx context.Context, record *Record) error {
	id := record.GroupID
	kept, err := s.store().update(s.store().recordPath(s.Job), func(r *Record) *Record {
		if r == nil {
			r = s.newRecord()
			r.Over = s.Clock.Now()
		}
		r.GroupID, r.Params = id, nil // they served their purpose and hold secrets
		return r
	})
	switch {
	case !kept.Over.IsZero():
		err = errors.Join(fmt.Errorf("the attempt was cleaned up while its container group %s was being created", id), err)
	case err == nil:
		return nil
	}
	return errors.Join(err, deleteGroup(ctx, s.API, id, settlePersistence))
}
