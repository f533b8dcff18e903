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

// A group that a create call returned may not be listed at once, and one empty
// answer proves nothing: it counts as gone after that many absences over that time,
// and one that was never listed after the longer one. Nobody documents how late the
// list may be.
const (
	absences     = 3
	absencesOver = 10 * time.Second
	unlistedOver = 45 * time.Second
)

// wait is one for a group that starts.
type wait struct {
	stage  *Stage
	id     string
	begun  time.Time // from when the pace counts
	pace   *pace
	tale   *story
	enough func(*eci.Group) bool
	give   func(*eci.Group) error // further reasons to give up, or nil
	watch  watcher
	group  *eci.Group // as last seen

	meanwhile bool          // helper may be enough
	soon      time.Duration // until it is, where the last look has told; 0 where it has not
	placed    time.Time     // when it was last seen without a place; zero where it never was
}

// until looks at the group at its pace until it is enough, tells what ECI says
// meanwhile, and fails as soon as it is clear that it never will be.
func (w *wait) until(ctx context.Context) (*eci.Group, error) {
	s := w.stage
	w.watch = watcher{stage: s, id: w.id, first: map[string]time.Time{}, listed: w.pace.late, ask: func(ctx context.Context, f func() error) error {
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

// pause is for how long not to look.
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
	w.tale.look(group)
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
		w.placed = w.stage.Clock.Now() // not yet
	}
	w.tale.status(w.id, status)
}

// since is for how long an event has been: by ECI's clock, which tells seconds, where
// that knows when the group was placed, else for how long it has been seen.
func (w *wait) since(e eci.Event) time.Duration {
	scheduled := placedAt(w.group)
	if scheduled.IsZero() || e.First.Before(scheduled) {
		return w.watch.seenFor(e)
	}
	return w.stage.Clock.Now().Sub(w.begun.Add(w.pace.place + e.First.Sub(scheduled)))
}

// awaitRunning waits until helper and build run, or what is started serves meanwhile.
func (s *Stage) awaitRunning(ctx context.Context, record *Record, c *choice, tale *story, prices *pricer) (*eci.Group, error) {
	meanwhile := s.execsWhilePending()
	w := &wait{stage: s, id: record.GroupID, begun: s.Clock.Now(), tale: tale, meanwhile: meanwhile,
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
	if !w.placed.IsZero() {
		billed = w.placed
	}
	cost := prices.cost(c.spec, group, billed)
	var starting *Starting
	if !ready(group) {
		starting = &Starting{Images: imagesKey(c.spec, false), Placed: w.begun.Add(w.pace.place), Looks: w.pace.looks, Told: tale.facts()}
	}
	_, err = s.amend(func(r *Record) { r.Cost, r.Starting = cost, starting })
	return group, err
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

// endingLooks is how often a group that may be ending is looked at once more.
const endingLooks = 2

// doctor is asked, while a script runs, whether its group can still serve it.
type doctor struct {
	stage  *Stage
	record *Record
	watch  watcher
	execs  refusals
}

func (s *Stage) newDoctor(record *Record) *doctor {
	return &doctor{stage: s, record: record, execs: refusals{clock: s.Clock}, watch: watcher{stage: s, id: record.GroupID, ask: func(ctx context.Context, f func() error) error {
		return eci.Persist(ctx, 3*time.Second, f) // short, because a log that flows waits for the answer
	}}}
}

// diagnose says why the group can't serve any more; nil while its helper and build
// run, while the API does not answer, and at an absence that may pass: where the next
// exec finds no group either, the next absence is the end. A group that takes no exec
// before all of it has started is waited for.
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
	listed bool                                            // at least once
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
	limit := absencesOver
	if !w.listed && w.first != nil {
		limit = unlistedOver
	}
	switch {
	case w.absent < absences || now.Sub(w.since) < limit:
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
