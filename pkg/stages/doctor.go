package stages

import (
	"context"
	"errors"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// endingLooks is how often a group that seems to be ending is looked at again: its status
// tells why only a moment after its first container has ended.
const endingLooks = 2

// doctor is asked, while a script runs or can't be reached, whether its group can still
// serve it.
type doctor struct {
	stage  *Stage
	record *Record
	watch  watcher
	execs  refusals // of this stage
}

func (s *Stage) newDoctor(record *Record) *doctor {
	return &doctor{stage: s, record: record, execs: refusals{clock: s.Clock}, watch: watcher{stage: s, id: record.GroupID, ask: func(ctx context.Context, f func() error) error {
		return eci.Persist(ctx, 3*time.Second, f) // short, because a log that flows waits for the answer
	}}}
}

// diagnose says why the group can't serve any more. It returns nil while helper and build
// run, and where that is not known: the API does not answer, or the group is absent from
// one answer, which may pass. An absence counts at once where the last exec was refused
// because ECI does not know the group either. A group that takes no exec because not all
// of it has started is waited for.
func (d *doctor) diagnose(ctx context.Context) error {
	if d.record.Starting != nil && d.execs.pending() {
		d.stage.noteNoExecs()
		return d.stage.awaitStarted(ctx, d.record, true)
	}
	group, err := d.watch.look(ctx)
	for range endingLooks {
		if err != nil || group == nil || !ending(group) {
			break
		}
		select {
		case <-ctx.Done():
		case <-d.stage.Clock.After(time.Second):
		}
		group, err = d.watch.look(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case errors.As(err, new(*eci.Error)):
		// Not known is not gone. A refusal too, as while a key is exchanged or the metadata
		// service is busy, says nothing about a group whose log may flow.
		return d.execs.lasting()
	case err != nil:
		return err
	case group != nil:
		if err := d.stage.death(group); err != nil {
			return err
		}
		return d.execs.lasting()
	case d.execs.unknown():
		return d.watch.vanished()
	}
	return nil
}
