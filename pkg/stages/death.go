package stages

import (
	"fmt"
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// death is why a group can't serve its job any more, or nil. Containers end before the
// group's status says why.
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

// statusDeath is the death that a group's status tells.
func statusDeath(group *eci.Group) error {
	switch group.Status {
	case "ScheduleFailed":
		return scheduleFailure(group)
	case "Expired":
		return spotReclaimed(group)
	case "Succeeded", "Failed", "Terminating":
		return endedFromOutside(group, "status "+group.Status)
	}
	return nil // a status that is new is none of these
}

func endedFromOutside(group *eci.Group, how string) error {
	return &startError{event: lastWarning(group),
		what: fmt.Sprintf("container group %s has ended (%s)", group.ID, how),
		next: "retry the job; should groups end so again, find out who deletes them beside this driver (ActionTrail tells)."}
}

// outlived tells whether the group was ended at its deadline. Which status, reason or
// event ECI has for that is not documented; both times are the server's.
func (s *Stage) outlived(group *eci.Group, c *eci.ContainerStatus) bool {
	const rounding = 2 * time.Second
	return !group.CreationTime.IsZero() && c.FinishTime.Sub(group.CreationTime)+rounding >= s.deadline()
}

// byForce tells whether a signal has ended a container, as it does when its group ends.
func byForce(c *eci.ContainerStatus) bool {
	return c != nil && c.State == "Terminated" && c.ExitCode > 128 && c.Reason != "OOMKilled"
}

func bothKilled(group *eci.Group) bool {
	return byForce(group.Container(helperContainer)) && byForce(group.Container(buildContainer))
}

// ending tells whether a group is likely to be on its way to an end whose cause its
// status or its other containers tell a moment later: the helper ends by nothing else.
func ending(group *eci.Group) bool {
	build := group.Container(buildContainer)
	return byForce(group.Container(helperContainer)) && build != nil && build.State == "Running" && statusDeath(group) == nil
}

// firstDead is helper or build, where it has ended: the one that was killed for
// memory, because that may end the whole group.
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

// memoryOf is that of helper or build. Without a size of its own helper has the group's,
// as build always has.
func (s *Stage) memoryOf(container string) memory {
	cfg, _, _ := withOverwrites(s.Config, s.Job) // prepare has told its mistakes
	if container == helperContainer && cfg.Helper.Memory > 0 {
		return memory{"helper", cfg.Helper.Memory, "ECI_HELPER_MEMORY", "[helper] memory"}
	}
	return memory{"container group", cfg.Build.Memory, "ECI_MEMORY", "[build] memory"}
}

// killedForMemory tells whether the kernel killed a process of a container: not
// every end that follows has it as its reason.
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
