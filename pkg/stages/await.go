package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const (
	firstPause = 500 * time.Millisecond // between the first poll and the second
	slowPause  = 3 * time.Second
)

// persistence is how long a call is repeated that gets no usable answer.
const persistence = time.Minute

// A group that a create call returned may not be listed at once, and one empty
// answer proves nothing: it counts as gone after that many absences over that time.
const (
	absences     = 3
	absencesOver = 10 * time.Second
)

// awaitRunning polls until helper and build run, tells what ECI says meanwhile,
// and fails as soon as it is clear that they never will. The first poll comes when
// groups of this host usually run.
func (s *Stage) awaitRunning(ctx context.Context, record *Record, c *choice, tale *story, prices *pricer) (*eci.Group, error) {
	id, begun, billed := record.GroupID, s.Clock.Now(), record.Created
	watch := watcher{stage: s, id: id, first: map[string]time.Time{}, ask: func(ctx context.Context, f func() error) error {
		return eci.Outlast(ctx, persistence, f)
	}}
	crowd := s.joinCrowd()
	defer crowd.leave()
	var group *eci.Group
	var before, now time.Duration // the poll before this one, and this one
	for poll, pause := 0, s.store().learnedStartup(); ; poll, pause = poll+1, min(max(firstPause, pause*3/2), slowPause) {
		select {
		case <-ctx.Done():
			return nil, s.outOfTime(ctx, id, group)
		case <-s.Clock.After(pause):
		}
		before, now = now, s.Clock.Now().Sub(begun)
		if poll > 0 && crowd.silent(ctx, id) {
			continue
		}
		seen, err := watch.look(ctx)
		if ctx.Err() != nil {
			return nil, s.outOfTime(ctx, id, group)
		}
		if err != nil {
			return nil, err
		}
		if seen == nil {
			continue
		}
		group = seen
		crowd.looked(group)
		if group.Status == "Scheduling" {
			billed = s.Clock.Now() // not yet
		}
		tale.look(group)
		prices.ask(ctx, c.spec, group.CPU, group.MemoryGiB)
		if err := s.judge(group, watch.seenFor); err != nil {
			return nil, err
		}
		if err := s.impatience(group, c); err != nil {
			return nil, err
		}
		if ready(group) {
			s.store().learnStartup(before, now)
			cost := prices.cost(c.spec, group, billed)
			_, err := s.store().update(s.store().recordPath(s.Job), func(r *Record) *Record {
				if r != nil {
					r.Cost = cost
				}
				return r
			})
			return group, err
		}
	}
}

// impatience is the failed pull of an image that may be had by another pull policy:
// ECI's own retries are not waited for then.
func (s *Stage) impatience(group *eci.Group, c *choice) error {
	for i := range group.Containers {
		container := &group.Containers[i]
		if len(c.policies[container.Name]) == 0 {
			continue
		}
		if failure := s.pullFailure(group, container, true); failure != nil {
			return failure
		}
	}
	return nil
}

// ready tells whether scripts can run: helper and build do, and every service was
// started, so that one whose image can't be had fails the job here.
func ready(group *eci.Group) bool {
	if !running(group, helperContainer) || !running(group, buildContainer) {
		return false
	}
	waits := slices.ContainsFunc(group.Containers, func(c eci.ContainerStatus) bool { return c.State != "Running" && c.State != "Terminated" })
	return group.Status == "Running" || !waits
}

// outOfTime is the error of a wait whose context ended: by [timeouts] ready, with
// what kept the group from starting, or by a signal.
func (s *Stage) outOfTime(ctx context.Context, id string, group *eci.Group) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, errNotReady) {
		return fmt.Errorf("waiting for container group %s: %w%s", id, cause, stateOf(group))
	}
	if group == nil {
		return fmt.Errorf("container group %s: %w before ECI listed it; an empty answer is also what a RAM user gets who lacks eci:DescribeContainerGroups", id, cause)
	}
	if err := s.late(group); err != nil {
		return err
	}
	return &startError{what: fmt.Sprintf("container group %s does not run yet%s", id, stateOf(group)), event: lastWarning(group),
		next: "see what the log of this section was waiting for: a long pull wants an image cache, a long wait for a place other vswitch_ids; or raise [timeouts] ready."}
}

// doctor is asked, while a script runs, whether its group can still serve it.
type doctor struct {
	stage *Stage
	watch watcher
	execs refusals
}

func (s *Stage) newDoctor(id string) *doctor {
	return &doctor{stage: s, execs: refusals{clock: s.Clock}, watch: watcher{stage: s, id: id, ask: func(ctx context.Context, f func() error) error {
		return eci.Persist(ctx, 3*time.Second, f) // short, because a log that flows waits for the answer
	}}}
}

// diagnose says why the group can't serve any more; nil while its helper and build
// run, while the API does not answer, and at an absence that may pass: where the next
// exec finds no group either, the next absence is the end.
func (d *doctor) diagnose(ctx context.Context) error {
	group, err := d.watch.look(ctx)
	switch {
	case err != nil && ctx.Err() == nil && eci.ClassOf(err) != eci.Retry:
		return err
	case err != nil:
		return nil // not known is not gone
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

// watcher remembers what was seen of one group.
type watcher struct {
	stage  *Stage
	id     string
	ask    func(ctx context.Context, f func() error) error // repeats a call that gets no usable answer
	listed bool
	absent int
	since  time.Time
	first  map[string]time.Time // when an event was seen for the first time
}

// look returns nil without an error where the group is not listed (yet).
func (w *watcher) look(ctx context.Context) (*eci.Group, error) {
	var groups []eci.Group
	err := w.ask(ctx, func() (err error) {
		groups, err = w.stage.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{w.id}, WithEvent: true})
		return err
	})
	switch {
	case eci.ClassOf(err) == eci.NotFound:
	case err != nil:
		return nil, err
	case len(groups) > 0:
		w.absent, w.listed = 0, true
		return &groups[0], nil
	}
	now := w.stage.Clock.Now()
	if w.absent == 0 {
		w.since = now
	}
	w.absent++
	switch {
	case w.absent < absences || now.Sub(w.since) < absencesOver:
		return nil, nil
	case w.listed || w.first == nil:
		return nil, w.vanished()
	}
	return nil, fmt.Errorf("container group %s was accepted, but ECI does not list it: it was deleted by somebody else, or the driver's RAM user lacks eci:DescribeContainerGroups, which gives an empty answer", w.id)
}

func (w *watcher) vanished() error {
	return fmt.Errorf("container group %s does not exist any more: it was deleted by somebody else, or ECI has forgotten it", w.id)
}

// seenFor is for how long an event has been seen.
func (w *watcher) seenFor(e eci.Event) time.Duration {
	now, key := w.stage.Clock.Now(), e.Reason+e.Message
	if _, seen := w.first[key]; !seen {
		w.first[key] = now
	}
	return now.Sub(w.first[key])
}

// stateOf is what a group was when it was last seen.
func stateOf(group *eci.Group) string {
	if group == nil {
		return ""
	}
	var parts []string
	for _, c := range group.Containers {
		parts = append(parts, strings.TrimSpace(c.Name+" "+strings.ToLower(c.State)+" "+c.Reason))
	}
	return fmt.Sprintf(" (status %s: %s)", group.Status, strings.Join(parts, ", "))
}
