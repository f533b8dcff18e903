package stages

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// choice is the request of an attempt, and what of it may still be changed after a definite
// refusal: the vSwitches and instance types and their order, spot or not, the image cache.
// All vSwitches and types go in one call, and ECI tries them itself. Only when it refuses
// them all does next make another request. Each change leaves fewer to make, so there is
// an end to them.
type choice struct {
	spec     eci.GroupSpec // to be sent next
	asked    eci.GroupSpec // as configured
	fallback bool          // may still become pay-as-you-go
	auto     bool          // ECI may look for an image cache by itself
	turns    int           // how often the order of the vSwitches was turned ...
	typeTurn int           // ... and that of the instance types

	policies map[string][]string // pull policies that are left to try, by container
}

func newChoice(spec eci.GroupSpec, fallback, auto bool, policies map[string][]string) *choice {
	return &choice{spec: spec, asked: spec, fallback: fallback && spec.SpotStrategy != "", auto: auto, policies: policies}
}

// next changes the request after a definite refusal, or after a group that can't
// start, and says how; "" where nothing is left to be changed.
func (c *choice) next(err error) string {
	start := new(startError)
	made := errors.As(err, &start)
	class, said := refusal(err)
	switch {
	case made && start.unpulled != "":
		return c.otherPolicy(start.unpulled)
	case !made && class == eci.Config:
		return c.withoutEmpty()
	}
	return c.other(class, said)
}

// otherPolicy pulls the image of a container in another way.
func (c *choice) otherPolicy(container string) string {
	left := c.policies[container]
	if len(left) == 0 {
		return ""
	}
	c.policies[container] = left[1:]
	c.spec.Containers = slices.Clone(c.spec.Containers)
	for i := range c.spec.Containers {
		if c.spec.Containers[i].Name == container {
			c.spec.Containers[i].PullPolicy = left[0]
		}
	}
	return fmt.Sprintf("with the pull policy %s for %s", left[0], container)
}

// other changes the request after a refusal of a class. said is its text, which may name a
// vSwitch or an instance type.
func (c *choice) other(class eci.Class, said string) string {
	switch class {
	case eci.NoCache:
		return c.withoutCache()
	case eci.Capacity:
		return c.elsewhere(said)
	}
	return ""
}

// withoutEmpty leaves out variables without a value. ECI documents values of 0 to 256
// characters, and neither whether one may be missing, as SDKs send it, nor what a refusal
// of that would say.
func (c *choice) withoutEmpty() string {
	empty := func(e eci.EnvVar) bool { return e.Value == "" }
	if !slices.ContainsFunc(c.spec.Containers, func(of eci.Container) bool { return slices.ContainsFunc(of.Env, empty) }) {
		return ""
	}
	c.spec.Containers = slices.Clone(c.spec.Containers)
	for i := range c.spec.Containers {
		of := &c.spec.Containers[i]
		of.Env = slices.DeleteFunc(slices.Clone(of.Env), empty)
	}
	return "without variables that are empty"
}

func (c *choice) withoutCache() string {
	switch {
	case c.spec.ImageSnapshotID != "":
		said := "without the image cache " + c.spec.ImageSnapshotID
		c.spec.ImageSnapshotID, c.spec.AutoMatchImageCache = "", c.auto
		return said
	case c.spec.AutoMatchImageCache:
		c.spec.AutoMatchImageCache, c.auto = false, false
		return "without an image cache"
	}
	return ""
}

// elsewhere leaves out what the refusal names; where it names nothing, it turns the order,
// and at last asks for pay-as-you-go.
func (c *choice) elsewhere(said string) string {
	if gone, left := named(said, c.spec.VSwitchIDs); len(gone) > 0 && len(left) > 0 {
		c.spec.VSwitchIDs, c.turns = left, 0
		return "without vSwitch " + strings.Join(gone, ", ")
	}
	if gone, left := named(said, c.spec.InstanceTypes); len(gone) > 0 && len(left) > 0 {
		c.spec.InstanceTypes, c.typeTurn = left, 0
		return "without instance type " + strings.Join(gone, ", ")
	}
	switch {
	// The error names none of several: nobody documents whether ECI looked at more
	// than the first.
	case c.turns+1 < len(c.spec.VSwitchIDs) && c.spec.ScheduleStrategy != "VSwitchRandom":
		c.turns++
		c.spec.VSwitchIDs = turned(c.spec.VSwitchIDs)
		return "with vSwitch " + c.spec.VSwitchIDs[0] + " first"
	case c.typeTurn+1 < len(c.spec.InstanceTypes):
		c.typeTurn++
		c.spec.InstanceTypes = turned(c.spec.InstanceTypes)
		return "with instance type " + c.spec.InstanceTypes[0] + " first"
	case c.fallback:
		c.fallback, c.turns, c.typeTurn = false, 0, 0
		c.spec.VSwitchIDs, c.spec.InstanceTypes = c.asked.VSwitchIDs, c.asked.InstanceTypes
		c.spec.SpotStrategy, c.spec.SpotPriceLimit, c.spec.SpotDuration = "", 0, 0
		return "as pay-as-you-go instead of spot"
	}
	return ""
}

func turned(list []string) []string { return slices.Concat(list[1:], list[:1]) }

// named splits a list into those that a message names, as whole words, and the rest.
func named(said string, list []string) (gone, left []string) {
	words := strings.FieldsFunc(said, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_", r)
	})
	for i := range words {
		words[i] = strings.Trim(words[i], ".")
	}
	for _, id := range list {
		if slices.Contains(words, id) {
			gone = append(gone, id)
		} else {
			left = append(left, id)
		}
	}
	return gone, left
}

// refusal is the class and the text of a failure to get a group. The class is Unknown where
// no other request may follow, because the answer leaves open whether there is a group.
func refusal(err error) (eci.Class, string) {
	if start := new(startError); errors.As(err, &start) {
		return start.class, start.event
	}
	var e *eci.Error
	if !errors.As(err, &e) || eci.Ambiguous(err) || errors.Is(err, errInDoubt) {
		return eci.Unknown, ""
	}
	return eci.ClassOf(err), e.Message
}
