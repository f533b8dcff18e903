package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Prepare creates the job's container group and returns when helper and build run, or
// when helper can serve the job while build's image is pulled. Interrupted anywhere, it
// leaves a record by which cleanup finds the group.
func (s *Stage) Prepare(ctx context.Context) error {
	last, err := s.alone()
	if err != nil {
		return err
	}
	defer last()
	note, err := s.startNote()
	if err != nil {
		return err
	}
	release, err := s.leaseSlot(ctx)
	if err != nil {
		return err
	}
	defer release()
	spec, err := groupSpec(s.Config, s.Job, s.Clock.Now())
	if err != nil {
		return err
	}
	if _, err := sentFiles(s.Config, s.Job); err != nil {
		return err // before anything is paid for
	}
	done, err := s.takeUp(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer s.working("prepare")()
	ctx, cancel := context.WithDeadlineCause(ctx, note.First.Add(s.Config.Timeouts.Ready), errNotReady)
	defer cancel()
	story := openStory(s.Stdout, s.Clock, "Container group "+spec.Name)
	defer story.close()
	story.request(spec)
	_, lines, _ := withOverwrites(s.Config, s.Job) // its mistakes were groupSpec's too
	for _, line := range append(lines, sharedLogins(s.Config, s.Job, imagesOf(spec))...) {
		story.printf("%s\n", line)
	}
	group, err := s.obtain(ctx, newChoice(spec, s.Config.Spot.Fallback, s.Config.ImageCache.AutoMatch, furtherPolicies(s.Config, s.Job, spec)), story)
	if err != nil {
		return s.prepareFailed(ctx, note, err)
	}
	story.ready(group)
	s.Metrics.Observe(metrics.PreparePhase, story.created, "create")
	s.holdExec(ctx)
	if ready(group) {
		s.countPhases(group)
		s.tellServicesOf(ctx, group)
	}
	return nil
}

var errNotReady = errors.New("[timeouts] ready is over")

// startNote begins the time that all attempts of the job have together, with the first of
// them. It fails a later attempt that can't do better than the one before.
func (s *Stage) startNote() (Note, error) {
	now, ready := s.Clock.Now(), s.Config.Timeouts.Ready
	s.store().prune(now)
	note, err := s.store().loadNote(s.Job)
	if err != nil {
		return note, err
	}
	age := now.Sub(note.First)
	switch {
	// A stage by hand may come back to the same job, and the cause be mended. What is from
	// later than now is from under another clock: by it the budget would not end.
	case note.First.IsZero(), !younger(now, note.First, ready+noteGrace):
		note = Note{First: now}
		return note, s.store().saveNote(s.Job, note)
	case note.Failure != "":
		return note, fmt.Errorf("an earlier attempt failed for good: %s%s", note.Failure, s.askedAgain(note))
	case age >= ready:
		return note, fmt.Errorf("[timeouts] ready = %s is for all attempts of a job together, and earlier ones have used it up", ready)
	}
	return note, nil
}

// askedAgain tells a person who prepares a job by hand from when on that asks ECI again; ""
// for a runner's job, whose retry is another job.
func (s *Stage) askedAgain(note Note) string {
	if !s.Job.ByHand {
		return ""
	}
	at := note.First.Add(s.Config.Timeouts.Ready + noteGrace)
	return fmt.Sprintf("\nWhere that is mended, a prepare of this job by hand asks ECI again from %s on.", at.UTC().Format(hourLayout))
}

// noteGrace is how long a job's note counts after [timeouts] ready is over.
const noteGrace = time.Minute

// prepareFailed completes the error of a prepare, and notes a failure that no other attempt
// of the job can heal.
func (s *Stage) prepareFailed(ctx context.Context, note Note, err error) error {
	late := errors.Is(context.Cause(ctx), errNotReady)
	err = withAdvice(blameSize(err, s.Job))
	if late {
		err = fmt.Errorf("the container group was not ready within [timeouts] ready = %s: %w", s.Config.Timeouts.Ready, err)
	}
	if late || lasting(err) {
		note.Failure = err.Error()
		err = errors.Join(err, s.store().saveNote(s.Job, note))
	}
	return err
}

// obtain asks for groups, one after the other, until one runs or nothing is left to be
// changed about the request.
func (s *Stage) obtain(ctx context.Context, c *choice, story *story) (*eci.Group, error) {
	prices := s.newPricer()
	for again := false; ; again = true {
		story.enter("create")
		record, err := s.create(ctx, c.spec, again)
		if err == nil {
			story.accepted(record.GroupID)
			s.group = record.GroupID
			s.Logger.WithField("group", s.group).Info("container group was accepted")
			prices.ask(ctx, c.spec, c.spec.CPU, c.spec.MemoryGiB)
			var group *eci.Group
			if group, err = s.awaitRunning(ctx, record, c, story, prices); err == nil {
				return group, nil
			}
		}
		change := c.next(err)
		if change == "" || ctx.Err() != nil {
			return nil, err
		}
		if record != nil {
			// Only a delete that was accepted makes room for another group.
			if gone := deleteGroup(ctx, s.API, record.GroupID, persistence); gone != nil && eci.ClassOf(gone) != eci.NotFound {
				return nil, errors.Join(err, gone)
			}
		}
		story.again(err, change, c.spec)
	}
}

// create stores the whole request as an intent, then sends it, byte for byte the same on
// each retry: by its client token all of them make one group. With again it stores another
// intent, with another token.
func (s *Stage) create(ctx context.Context, spec eci.GroupSpec, again bool) (*Record, error) {
	record, err := s.store().loadRecord(s.Job)
	if err != nil {
		return nil, err
	}
	doubt := record != nil && !again // whether a call may have taken effect without its answer
	if record == nil || again {
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
	err = eci.Outlast(ctx, persistence, func() error {
		id, err := s.API.CreateContainerGroup(ctx, record.Params)
		record.GroupID = id
		doubt = doubt || eci.Ambiguous(err)
		return err
	})
	switch {
	case err == nil:
		return record, s.created(ctx, record)
	case !doubt:
		return nil, errors.Join(err, s.store().removeRecord(s.Job)) // refused, so there is nothing to find
	case eci.Ambiguous(err):
		return nil, err
	}
	return nil, fmt.Errorf("%w (%w)", err, errInDoubt)
}

// errInDoubt goes with a refusal that came after calls without an answer. The refusal is
// definite, but those calls may have made a group, so no other request may follow.
var errInDoubt = errors.New("an earlier call got no answer and may have made the group, so no other one is asked for")
