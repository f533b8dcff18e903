package stages

import (
	"fmt"
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// death says why a group can't serve its job any more; nil while it may. Helper and build
// may have ended before the group's status says why, so their own ends are looked at first.
func (s *Stage) death(group *eci.Group) error {
	c := firstDead(group)
	switch {
	case c == nil:
		return statusDeath(group)
	case killedForMemory(group, c):
	case group.Status == "Terminating": // somebody has deleted it
		return statusDeath(group)
	case slices.ContainsFunc(group.Events, func(e eci.Event) bool { return e.Reason == "SpotToBeReleased" }):
		return spotReclaimed(group)
	case s.outlived(group, c):
		return &startError{event: lastWarning(group),
			what: fmt.Sprintf("container group %s has ended: it has lived for %s, its deadline", group.ID, s.deadline()),
			next: "raise the job's timeout, or deadline_extra in [timeouts], if it was to live longer."}
	case bothKilled(group):
		return endedFromOutside(group, fmt.Sprintf("helper: exit code %d, build: exit code %d",
			group.Container(helperContainer).ExitCode, group.Container(buildContainer).ExitCode))
	}
	return s.bootFailure(group, c)
}

// statusDeath is death by the group's status alone.
func statusDeath(group *eci.Group) error {
	switch group.Status {
	case "ScheduleFailed":
		return scheduleFailure(group)
	case "Expired":
		return spotReclaimed(group)
	case "Succeeded", "Failed", "Terminating":
		return endedFromOutside(group, "status "+group.Status)
	}
	return nil // also for a status that nobody knows
}

func endedFromOutside(group *eci.Group, how string) error {
	return &startError{event: lastWarning(group),
		what: fmt.Sprintf("container group %s has ended (%s)", group.ID, how),
		next: "retry the job; should groups end so again, find out who deletes them beside this driver (ActionTrail tells)."}
}

// outlived tells whether ECI has ended the group at its deadline. Which status, reason or
// event says so is not documented, so its lifetime decides, both ends of it by ECI's clock.
func (s *Stage) outlived(group *eci.Group, c *eci.ContainerStatus) bool {
	const rounding = 2 * time.Second
	return !group.CreationTime.IsZero() && c.FinishTime.Sub(group.CreationTime)+rounding >= s.deadline()
}

// byForce tells whether a container was ended by a signal, as when its group is ended, and
// not for memory.
func byForce(c *eci.ContainerStatus) bool {
	return c != nil && c.State == "Terminated" && c.ExitCode > 128 && c.Reason != "OOMKilled"
}

func bothKilled(group *eci.Group) bool {
	return byForce(group.Container(helperContainer)) && byForce(group.Container(buildContainer))
}

// ending tells whether a group seems to be coming to its end: helper was ended by a signal,
// which nothing else does, while build still runs and the status says nothing yet. A moment
// later these tell the cause.
func ending(group *eci.Group) bool {
	build := group.Container(buildContainer)
	return byForce(group.Container(helperContainer)) && build != nil && build.State == "Running" && statusDeath(group) == nil
}

// firstDead is helper or build where one has ended, nil where none has. Of both it is the
// one that was killed for memory, because that may have ended the other.
func firstDead(group *eci.Group) (first *eci.ContainerStatus) {
	for _, name := range []string{helperContainer, buildContainer} {
		c := group.Container(name)
		if c != nil && c.State == "Terminated" && (first == nil || killedForMemory(group, c)) {
			first = c
		}
	}
	return first
}

// memory is what a container may use, and how its job or the operator raises that.
type memory struct {
	of            string // container group or helper
	size          config.Size
	variable, key string
}

// memoryOf is the memory of helper or build: the group's, unless helper has a size of its
// own.
func (s *Stage) memoryOf(container string) memory {
	cfg, _, _ := withOverwrites(s.Config, s.Job) // prepare has told its mistakes
	if container == helperContainer && cfg.Helper.Memory > 0 {
		return memory{"helper", cfg.Helper.Memory, "ECI_HELPER_MEMORY", "[helper] memory"}
	}
	return memory{"container group", cfg.Build.Memory, "ECI_MEMORY", "[build] memory"}
}

// killedForMemory tells whether the kernel killed a process of a container for memory: by the
// reason of its end, or by an event, since the reason does not always say so.
func killedForMemory(group *eci.Group, c *eci.ContainerStatus) bool {
	return c.Reason == "OOMKilled" || slices.ContainsFunc(group.Events, func(e eci.Event) bool {
		return e.Reason == "OOMKilled" && e.Name == c.Name
	})
}

// spotReclaimed is the end of a group whose spot instance ECI has taken.
func spotReclaimed(group *eci.Group) error {
	return &startError{event: lastWarning(group),
		what: fmt.Sprintf("container group %s was reclaimed: its spot instance is gone", group.ID),
		next: "retry the job; jobs that must not be lost need strategy = \"none\" in [spot]."}
}
