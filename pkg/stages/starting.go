package stages

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// prepare does not wait for a large image of build: the first scripts of a job (clone,
// cache, artifacts) run in helper. prepare returns once helper runs while other images
// are still being pulled, and the first script of build waits for the rest.
//
// For that ECI must take an exec in a group that is still Pending, which nobody documents.
// Where it refuses one, the stage waits for the whole group before its exec, and for a day
// later prepares of this host wait for all containers.

// Starting is what prepare leaves for the first script of build to wait for.
type Starting struct {
	Images string    `json:"images"`           // imagesKey of the group
	Placed time.Time `json:"placed"`           // when the group got its place
	Looks  int       `json:"looks"`            // that prepare has made
	Told   []string  `json:"told"`             // what the job's log has already: story.facts
	Failed bool      `json:"failed,omitempty"` // the wait is over: the group could not start
}

// noExecsFor is how long a host remembers that a Pending group took no exec.
const noExecsFor = 24 * time.Hour

func (s store) noExecsPath(region string) string {
	return filepath.Join(s.dir, "pending-"+label(region)+".json")
}

// execsWhilePending tells whether a Pending group may take execs: this host has seen none
// refused in the last day.
func (s *Stage) execsWhilePending() bool {
	var refused time.Time
	return !loadCache(s.store().noExecsPath(s.Config.Region), &refused) || !younger(s.Clock.Now(), refused, noExecsFor)
}

// noteNoExecs remembers that a Pending group took no exec.
func (s *Stage) noteNoExecs() {
	saveCache(s.store().noExecsPath(s.Config.Region), s.Clock.Now())
}

// pullGrace is how long prepare waits for images that are being pulled. Small ones are
// there by then, and most pulls that fail have failed: better in prepare, which the runner
// calls again after a system failure, than in a later stage.
const pullGrace = 2 * time.Second

// servedIn tells whether helper can serve the job while other images are pulled, and how
// much of pullGrace is left. It can't where a container has another pull policy to fall
// back on: a failed pull is then answered by another group, which must come before the
// job has put anything into this one.
func (c *choice) servedIn(group *eci.Group, since func(eci.Event) time.Duration) (left time.Duration, served bool) {
	if !running(group, helperContainer) || group.Status != "Pending" {
		return 0, false
	}
	left = pullGrace
	for i := range group.Containers {
		container := &group.Containers[i]
		if container.State == "Running" || container.State == "Terminated" {
			continue
		}
		if len(c.policies[container.Name]) > 0 {
			return 0, false
		}
		if pull := pulling(group, container); pull != nil {
			left, served = min(left, pullGrace-since(*pull)), true
		}
	}
	return left, served
}

// pulling is the event by which a container's image began to be pulled; nil where there is
// none, and where the pull is over, successful or not.
func pulling(group *eci.Group, c *eci.ContainerStatus) (pull *eci.Event) {
	for i, e := range group.Events {
		switch {
		case !names(e.Message, c.Image):
		case e.Reason == "Pulling":
			pull = &group.Events[i]
		case e.Reason == "Pulled":
			pull = nil
		}
	}
	if pullsOf(group, c).said != "" {
		return nil
	}
	return pull
}

// waiting says which images are still being pulled, "" for none.
func waiting(group *eci.Group) string {
	var images []string
	for i := range group.Containers {
		if c := &group.Containers[i]; c.State != "Running" && c.State != "Terminated" && pulling(group, c) != nil && !slices.Contains(images, c.Image) {
			images = append(images, c.Image)
		}
	}
	switch len(images) {
	case 0:
		return ""
	case 1:
		return "the image " + images[0] + " is pulled"
	}
	return "the images " + strings.Join(images, ", ") + " are pulled"
}

// startBy is when the first script of build gives up waiting for the group: at the end of
// [timeouts] ready, but not before a minute from now, as a long clone may have used that up,
// and not later than ready from now, as the note may be from under a clock that was ahead.
func (s *Stage) startBy(note Note) time.Time {
	now, ready := s.Clock.Now(), s.Config.Timeouts.Ready
	left := min(note.First.Add(ready).Sub(now), ready)
	return now.Add(max(left, persistence))
}

// awaitStarted waits for what prepare left, and fails as prepare would have. The group may
// have been ready for long by now, so the first look comes at once, unless refused: an exec
// was refused just now, and so the group is known to be Pending still.
func (s *Stage) awaitStarted(ctx context.Context, record *Record, refused bool) error {
	left := record.Starting
	switch {
	case left == nil:
		return nil
	case left.Failed:
		return &BuildError{Message: "the container group could not start: see above"}
	}
	note, err := s.store().loadNote(s.Job)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithDeadlineCause(ctx, s.startBy(note), errNotReady)
	defer cancel()
	story := newStory(s.Stdout, s.Clock, sectionName+"_rest", "What is left of container group "+record.GroupID)
	story.knows(left.Told)
	defer story.close()
	pace := s.store().pace(left.Images)
	pace.late, pace.isPlaced, pace.spent = true, true, left.Looks
	if refused {
		pace.last = s.Clock.Now().Sub(left.Placed)
	}
	w := &wait{stage: s, id: record.GroupID, begun: left.Placed, pace: pace, story: story, enough: ready}
	group, err := w.until(waiting)
	if ctx.Err() != nil {
		return err // interrupted
	}
	started := (*Starting)(nil)
	if err != nil {
		err = s.prepareFailed(waiting, note, err)
		started = &Starting{Failed: true}
	}
	record.Starting = started
	_, recordErr := s.amend(func(r *Record) { r.Starting = started })
	if err != nil || recordErr != nil {
		return errors.Join(err, recordErr)
	}
	s.countPhases(group)
	if story.open {
		story.times(group)
		story.close()
		s.printf("Container group %s has all its containers, after %s more\n", group.ID, seconds(s.Clock.Now().Sub(story.begun)))
	}
	s.tellServicesOf(ctx, group)
	return nil
}
