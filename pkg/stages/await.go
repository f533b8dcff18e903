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
	firstPoll = 500 * time.Millisecond
	slowPoll  = 3 * time.Second
)

// persistence is how long a call is repeated that gets no usable answer.
const persistence = time.Minute

// A group that a create call returned may not be listed at once, and one empty
// answer proves nothing: it counts as gone after that many absences over that time.
const (
	absences     = 3
	absencesOver = 10 * time.Second
)

// awaitRunning polls until helper and build run, prints what ECI says meanwhile,
// and fails as soon as it is clear that they never will.
func (s *Stage) awaitRunning(ctx context.Context, id string) error {
	watch := watcher{stage: s, id: id, persistence: persistence}
	for pause := firstPoll; ; pause = min(pause*3/2, slowPoll) {
		group, err := watch.look(ctx)
		if err != nil {
			return err
		}
		if group != nil {
			watch.report(group)
			if err := failure(group); err != nil {
				return err
			}
			if running(group, helperContainer) && running(group, buildContainer) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for container group %s: %w%s", id, context.Cause(ctx), watch.state(group))
		case <-s.Clock.After(pause):
		}
	}
}

// diagnose says why a group that served a script can't any more; nil while its
// helper and build run, or while the API does not answer.
func (s *Stage) diagnose(ctx context.Context, id string) error {
	// Short, because a log that flows waits for the answer.
	watch := watcher{stage: s, id: id, persistence: 3 * time.Second}
	for {
		group, err := watch.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil && eci.ClassOf(err) != eci.Retry:
			return err
		case err != nil:
			return nil // not known is not gone
		case group != nil:
			return failure(group)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Clock.After(absencesOver / absences):
		}
	}
}

// watcher remembers what was seen of one group.
type watcher struct {
	stage       *Stage
	id          string
	persistence time.Duration // of a call that gets no usable answer
	absent      int
	since       time.Time
	shown       []string
	status      string
}

// look returns nil without an error where the group is not listed (yet).
func (w *watcher) look(ctx context.Context) (*eci.Group, error) {
	var groups []eci.Group
	err := eci.Persist(ctx, w.persistence, func() (err error) {
		groups, err = w.stage.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{w.id}, WithEvent: true})
		return err
	})
	switch {
	case eci.ClassOf(err) == eci.NotFound:
	case err != nil:
		return nil, err
	case len(groups) > 0:
		w.absent = 0
		return &groups[0], nil
	}
	now := w.stage.Clock.Now()
	if w.absent == 0 {
		w.since = now
	}
	w.absent++
	if w.absent >= absences && now.Sub(w.since) >= absencesOver {
		return nil, fmt.Errorf("container group %s does not exist any more: it was deleted by somebody else, or ECI has forgotten it", w.id)
	}
	return nil, nil
}

// report prints each status and each warning of ECI once.
func (w *watcher) report(group *eci.Group) {
	if group.Status != w.status {
		w.status = group.Status
		w.stage.printf("Container group %s: %s\n", w.id, group.Status)
	}
	for _, e := range group.Events {
		line := e.Reason + ": " + e.Message
		if e.Type == "Warning" && !slices.Contains(w.shown, line) {
			w.shown = append(w.shown, line)
			w.stage.printf("Warning: %s\n", line)
		}
	}
}

func (w *watcher) state(group *eci.Group) string {
	if group == nil {
		return ""
	}
	var parts []string
	for _, c := range group.Containers {
		parts = append(parts, strings.TrimSpace(c.Name+" "+strings.ToLower(c.State)+" "+c.Reason))
	}
	return fmt.Sprintf(" (status %s: %s)", group.Status, strings.Join(parts, ", "))
}

func running(group *eci.Group, name string) bool {
	c := group.Container(name)
	return c != nil && c.State == "Running"
}

// failure is why a group can't serve its job, or nil.
func failure(group *eci.Group) error {
	for _, name := range []string{helperContainer, buildContainer} {
		c := group.Container(name)
		if c == nil {
			continue
		}
		if c.State == "Terminated" {
			return errors.New(ended(group, c))
		}
		if err := pullFailure(group, c); err != nil {
			return err
		}
	}
	for _, c := range group.Containers {
		if err := pullFailure(group, &c); err != nil {
			return err
		}
	}
	switch group.Status {
	case "ScheduleFailed":
		return fmt.Errorf("container group %s could not be scheduled%s", group.ID, lastWarning(group))
	case "Expired":
		return fmt.Errorf("container group %s was reclaimed: its spot instance is gone%s", group.ID, lastWarning(group))
	case "Succeeded", "Failed", "Terminating":
		return fmt.Errorf("container group %s has ended (status %s)%s", group.ID, group.Status, lastWarning(group))
	}
	return nil
}

func ended(group *eci.Group, c *eci.ContainerStatus) string {
	text := fmt.Sprintf("the %s container of group %s has ended (exit code %d", c.Name, group.ID, c.ExitCode)
	if c.Reason != "" {
		text += ", " + c.Reason
	}
	text += ")"
	if c.Message != "" {
		text += ": " + strings.TrimSpace(c.Message)
	}
	if c.Reason == "OOMKilled" {
		text += "; raise the memory of the build (ECI_MEMORY or [build] memory)"
	}
	return text + lastWarning(group)
}

// pullFailure is definite at the first back-off, and at once where the registry
// itself said no.
func pullFailure(group *eci.Group, c *eci.ContainerStatus) error {
	if c.State == "Running" || c.State == "Terminated" {
		return nil
	}
	said := c.Message
	for _, e := range group.Events {
		if e.Type == "Warning" && strings.Contains(e.Message, "pull image") && strings.Contains(e.Message, c.Image) {
			said = e.Message
		}
	}
	refused := false
	for _, word := range []string{"not found", "manifest unknown", "unauthorized", "denied", "authentication required"} {
		refused = refused || strings.Contains(strings.ToLower(said), word)
	}
	switch c.Reason {
	case "InvalidImageName", "ErrImageNeverPull", "ImagePullBackOff":
	case "ErrImagePull":
		if !refused {
			return nil
		}
	default:
		return nil
	}
	return fmt.Errorf("the image %s of container %s can't be pulled (%s): %s", c.Image, c.Name, c.Reason,
		firstOf(strings.TrimSpace(said), "ECI gave no reason; check the name, the registry's credentials, and that the vSwitch reaches the registry"))
}

func lastWarning(group *eci.Group) string {
	for _, e := range slices.Backward(group.Events) {
		if e.Type == "Warning" {
			return fmt.Sprintf("; ECI's last warning: %s: %s", e.Reason, e.Message)
		}
	}
	return ""
}
