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

// prepare need not wait for the image of build: what runs first of a job, its clone,
// cache and artifacts, runs in helper. Where ECI takes an exec in a container of a group
// that is still Pending, prepare returns once helper runs, and the first script of build
// waits for what is left. Nobody documents whether ECI does: where it
// refuses, that is waited for at the first exec, and this host's later prepares wait.

// Starting is what a stage needs to wait on for what prepare did not await.
type Starting struct {
	Images string    `json:"images"` // by which the times of such groups are known
	Placed time.Time `json:"placed"` // when the group got its place
	Looks  int       `json:"looks"`  // how many prepare has made
	Told   []string  `json:"told"`   // facts that the job's log has
	Failed bool      `json:"failed,omitempty"`
}

// noExecsFor is after how long a host tries again whether a Pending group takes execs.
const noExecsFor = 24 * time.Hour

func (s store) noExecsPath(region string) string {
	return filepath.Join(s.dir, "pending-"+label(region)+".json")
}

// execsWhilePending tells whether this host has not seen such an exec refused.
func (s *Stage) execsWhilePending() bool {
	var refused time.Time
	return !loadCache(s.store().noExecsPath(s.Config.Region), &refused) || !younger(s.Clock.Now(), refused, noExecsFor)
}

func (s *Stage) noteNoExecs() {
	saveCache(s.store().noExecsPath(s.Config.Region), s.Clock.Now())
}

// pullGrace is how long an image must have been on its way for prepare not to await it.
// What is small is there by then, and most pulls that fail have failed, which is better
// told by prepare, whose system failures the runner tries again.
const pullGrace = 2 * time.Second

// servedIn tells whether helper can serve the job while images are pulled, and how much
// of pullGrace is left until prepare need not await them. Where another pull policy is
// left for one of them, prepare waits: what fails then is asked for again in another
// way, as another group.
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

// pulling is the event that tells that the image of a container is on its way; nil where
// none does, or the pull has ended well or not.
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

// waiting names the images that are still pulled.
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

// startBy is until when a group may start: a long clone may have used [timeouts] ready up,
// and the note be from under a clock that was ahead.
func (s *Stage) startBy(note Note) time.Time {
	now, ready := s.Clock.Now(), s.Config.Timeouts.Ready
	left := min(note.First.Add(ready).Sub(now), ready)
	return now.Add(max(left, persistence))
}

// awaitStarted waits for what prepare left, and fails as prepare would have. By then the
// group may have been ready for long: it is looked at at once, but where an exec was
// refused just now, which tells as much as a look.
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
