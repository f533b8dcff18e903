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

// persistence is how long a call is repeated that gets no usable answer.
const persistence = time.Minute

// wait is one wait for a group to start: prepare's, or that of the first build script for
// what prepare did not await (starting.go).
type wait struct {
	stage  *Stage
	id     string
	begun  time.Time // what the pace counts from
	pace   *pace
	story  *story
	enough func(*eci.Group) bool  // tells whether the wait is over
	give   func(*eci.Group) error // a further reason to give up; nil for none
	watch  watcher
	group  *eci.Group // as last seen; nil before

	// meanwhile lets the wait end as soon as helper runs and the other images have been
	// pulled for pullGrace. The group does not change at that moment, so it must be looked
	// at after soon; 0 = nothing is due.
	meanwhile bool
	soon      time.Duration

	unplaced time.Time // when the group was last seen Scheduling; zero where it never was
}

// until looks at the group at its pace until it is enough, and shows in the job's log what
// ECI says. It fails as soon as it is clear that the group never will be enough.
func (w *wait) until(ctx context.Context) (*eci.Group, error) {
	s := w.stage
	w.watch = watcher{stage: s, id: w.id, fresh: true, first: map[string]time.Time{}, listed: w.pace.late, ask: func(ctx context.Context, f func() error) error {
		return eci.Outlast(ctx, persistence, f)
	}}
	crowd := s.joinCrowd(w.meanwhile)
	defer crowd.leave()
	for {
		select {
		case <-ctx.Done():
			return nil, s.outOfTime(ctx, w.id, w.group)
		case <-s.Clock.After(crowd.pause(w.pause())):
		}
		now, notYet := s.Clock.Now().Sub(w.begun), w.pace.last
		if status, silent := crowd.silent(ctx, w.id); silent {
			w.phase(status)
			continue
		}
		seen, err := w.watch.look(ctx)
		if ctx.Err() != nil {
			return nil, s.outOfTime(ctx, w.id, w.group)
		}
		if err != nil {
			return nil, err
		}
		w.pace.looked(now, seen)
		if seen == nil {
			continue
		}
		crowd.looked(seen)
		if over, err := w.saw(seen); over || err != nil {
			if err == nil {
				s.store().learn(w.pace, notYet, now)
			}
			return seen, err
		}
	}
}

// pause is how long to wait until the next look.
func (w *wait) pause() time.Duration {
	d := w.pace.pause(w.pace.last)
	if w.soon > 0 {
		d = min(d, w.soon)
	}
	return d
}

// saw takes in what a look has shown, and tells whether the wait is over.
func (w *wait) saw(group *eci.Group) (over bool, err error) {
	w.group = group
	w.phase(group.Status)
	w.story.look(group)
	if err := w.stage.judge(group, w.watch.seenFor); err != nil {
		return false, err
	}
	if w.give != nil {
		if err := w.give(group); err != nil {
			return false, err
		}
	}
	return w.enough(group), nil
}

func (w *wait) phase(status string) {
	if status == "Scheduling" {
		w.unplaced = w.stage.Clock.Now()
	}
	w.story.status(w.id, status)
}

// since is how long ago an event was. ECI's clock is not ours, so what counts is how much
// later than the group's placing the event was, and when we know that placing to have
// been; without it, how long ago we first saw the event.
func (w *wait) since(e eci.Event) time.Duration {
	scheduled := placedAt(w.group)
	if scheduled.IsZero() || e.First.Before(scheduled) {
		return w.watch.seenFor(e)
	}
	return w.stage.Clock.Now().Sub(w.begun.Add(w.pace.place + e.First.Sub(scheduled)))
}

// awaitRunning waits until helper and build run and all services were started, or, where
// ECI takes execs then, until helper runs and other images are still being pulled. It
// records the cost, and what is left to wait for.
func (s *Stage) awaitRunning(ctx context.Context, record *Record, c *choice, story *story, prices *pricer) (*eci.Group, error) {
	meanwhile := s.execsWhilePending()
	w := &wait{stage: s, id: record.GroupID, begun: s.Clock.Now(), story: story, meanwhile: meanwhile,
		pace: s.store().pace(imagesKey(c.spec, meanwhile)),
		give: func(g *eci.Group) error {
			prices.ask(ctx, c.spec, g.CPU, g.MemoryGiB)
			return s.impatience(g, c)
		}}
	w.enough = func(g *eci.Group) bool {
		left, served := c.servedIn(g, w.since)
		w.soon = 0
		if meanwhile && served {
			w.soon = max(left, firstPause)
		}
		return ready(g) || meanwhile && served && left <= 0
	}
	group, err := w.until(ctx)
	if err != nil {
		return nil, err
	}
	billed := record.Created
	if !w.unplaced.IsZero() {
		billed = w.unplaced
	}
	cost := prices.cost(c.spec, group, billed)
	var starting *Starting
	if !ready(group) {
		starting = &Starting{Images: imagesKey(c.spec, false), Placed: w.begun.Add(w.pace.place), Looks: w.pace.looks, Told: story.facts()}
	}
	_, err = s.amend(func(r *Record) { r.Cost, r.Starting = cost, starting })
	return group, err
}

// impatience fails the wait for a container whose pull has failed while another pull policy
// is left to try. ECI's own retries are not waited for then: choice.next asks for a group
// with the other policy.
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

// ready tells whether scripts can run: helper and build run, and every service was started
// once, so that a service whose image can't be pulled fails the job in prepare.
func ready(group *eci.Group) bool {
	if !running(group, helperContainer) || !running(group, buildContainer) {
		return false
	}
	waits := slices.ContainsFunc(group.Containers, func(c eci.ContainerStatus) bool { return c.State != "Running" && c.State != "Terminated" })
	return group.Status == "Running" || !waits
}

// outOfTime is the error of a wait whose context ended: because [timeouts] ready is over,
// then with what kept the group from starting, or by a signal.
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
