package stages

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// patience is how long something may go wrong that can heal by itself and whose
// words say neither that it will nor that it won't.
const patience = 30 * time.Second

// judge says why a group will not start; nil while it may. since tells how long ago an event
// was seen first.
func (s *Stage) judge(group *eci.Group, since func(eci.Event) time.Duration) error {
	if err := s.death(group); err != nil {
		return err
	}
	for i := range group.Containers {
		c := &group.Containers[i]
		if err := s.createFailure(group, c, since); err != nil {
			return err
		}
		if err := s.pullFailure(group, c, false); err != nil {
			return err
		}
	}
	return s.mountFailure(group, since)
}

// late says what keeps a group from starting when its time is over, passing problems
// included; nil where nothing tells.
func (s *Stage) late(group *eci.Group) error {
	for i := range group.Containers {
		if err := s.pullFailure(group, &group.Containers[i], true); err != nil {
			return err
		}
	}
	return s.mountFailure(group, func(eci.Event) time.Duration { return patience })
}

// scheduleFailure is why ECI gave a group up before it had a place.
func scheduleFailure(group *eci.Group) error {
	e := &startError{what: fmt.Sprintf("container group %s could not be scheduled", group.ID), event: lastWarning(group),
		next: "retry the job; should it fail for long, ask Alibaba Cloud by a ticket with the group's id."}
	for _, event := range slices.Backward(group.Events) {
		kind := event.Kind()
		if kind.Words == "" || event.Type != "Warning" || harmless(event) {
			continue
		}
		e.what += ": " + kind.Words
		e.event, e.next, e.class = raw(event), kind.Advice, kind.Class
		e.lasting = kind.Class == eci.Stop || kind.Class == eci.Config
		break
	}
	return e
}

// bootProblem is a kind of container that does not start, told by the words of
// the container runtime.
type bootProblem struct {
	words *regexp.Regexp
	is    string
	next  string // {image} is where the image is named, {platform}
}

func bootProblems() []bootProblem {
	return []bootProblem{
		{regexp.MustCompile(`exec format error|built for another machine`),
			"its programs are built for another machine", "set {image} to an image that is built for {platform}."},
		{regexp.MustCompile(`executable file not found|exec.*no such file or directory|interpreter or loader is missing`),
			"it has no sh that works", "set {image} to an image with a shell (/bin/sh, or busybox as in kaniko's tags with debug)."},
		{regexp.MustCompile(`exec:? .*permission denied`),
			"its sh may not be run", "set {image} to an image whose sh is executable for its user."},
		{regexp.MustCompile(`no users found|unable to find user|no matching entries in passwd`),
			"the user that it names does not exist in it", "correct USER of {image}."},
	}
}

// bootProblemOf is the problem of the container's image that said, the runtime's words, tells
// of; nil for none.
func (s *Stage) bootProblemOf(group *eci.Group, c *eci.ContainerStatus, said string) error {
	// Where our own script failed, or a signal ended it, there was a shell that works.
	if c.ExitCode == bootScriptFailed || c.ExitCode > 128 && c.ExitCode != 255 {
		return nil
	}
	for _, p := range bootProblems() {
		if p.words.MatchString(strings.ToLower(said)) {
			owner, named := s.ownerOf(c)
			fill := strings.NewReplacer("{image}", named, "{platform}", "linux/"+s.Config.Capacity.Architecture)
			return &startError{blame: owner, lasting: true, event: eci.OneLine(said), next: fill.Replace(p.next),
				what: fmt.Sprintf("container group %s: the image %s of container %s can't be started: %s", group.ID, c.Image, c.Name, p.is)}
		}
	}
	return nil
}

// bootFailure says why helper or build has ended, perhaps before it served any script.
func (s *Stage) bootFailure(group *eci.Group, c *eci.ContainerStatus) error {
	if err := s.bootProblemOf(group, c, cmp.Or(c.Message, startEvent(group, c).Message)); err != nil {
		return err
	}
	e := &startError{what: ended(group, c), event: lastWarning(group)}
	_, named := s.ownerOf(c)
	switch {
	case c.Name == helperContainer && strings.Contains(c.Message, "helper image"):
		e.lasting = true // the helper's script says itself what to do
	case killedForMemory(group, c):
		m := s.memoryOf(c.Name)
		e.next = fmt.Sprintf("raise the memory of the %s (%s or %s).", m.of, m.variable, m.key)
	case c.Name == helperContainer:
		e.next = fmt.Sprintf("retry the job; should it end so each time, set %s to a GitLab helper image for linux/%s.", named, s.Config.Capacity.Architecture)
	default:
		e.next = fmt.Sprintf("retry the job; should it end so each time, look at the entrypoint and the shell of %s.", named)
	}
	return e
}

// createFailure says why a container can't be started though its image is there.
func (s *Stage) createFailure(group *eci.Group, c *eci.ContainerStatus, since func(eci.Event) time.Duration) error {
	known := []string{"CreateContainerError", "CreateContainerConfigError", "RunContainerError", "StartError"}
	if c.State == "Running" || c.State == "Terminated" || !slices.Contains(known, c.Reason) {
		return nil
	}
	event := startEvent(group, c)
	said := cmp.Or(c.Message, event.Message)
	if err := s.subPathFailure(group, c, said); err != nil {
		return err
	}
	if err := s.bootProblemOf(group, c, said); err != nil || since(event) < patience {
		return err
	}
	_, named := s.ownerOf(c)
	return &startError{event: eci.OneLine(said),
		what: fmt.Sprintf("container group %s: the container %s (image %s) can't be started (%s)", group.ID, c.Name, c.Image, c.Reason),
		next: fmt.Sprintf("retry the job; should it fail so each time, look into what ECI says, and at %s.", named)}
}

// subPathFailure is about a sub_path that can't be mounted, by the kubelet's words for it.
// Nobody documents that ECI makes a missing one.
func (s *Stage) subPathFailure(group *eci.Group, c *eci.ContainerStatus, said string) error {
	if !strings.Contains(strings.ToLower(said), "subpath") {
		return nil
	}
	var tables []string
	for _, m := range s.Config.NAS {
		if m.SubPath != "" {
			tables = append(tables, fmt.Sprintf("%s (%s of %s)", m.Name, m.SubPath, m.Path))
		}
	}
	return &startError{event: eci.OneLine(said), lasting: true,
		what: fmt.Sprintf("container group %s: container %s can't be started: a sub_path can't be mounted", group.ID, c.Name),
		next: "make its directory on the file system, or write it into path, whose directories ECI makes. [[nas]] with a sub_path: " + strings.Join(tables, ", ") + "."}
}

// startEvent is the last event about the container's failed start. An event that names no
// container of the group may be about any.
func startEvent(group *eci.Group, c *eci.ContainerStatus) (found eci.Event) {
	for _, e := range group.Events {
		if e.Type == "Warning" && e.Reason == "Failed" && strings.Contains(e.Message, "container") &&
			(e.Name == c.Name || group.Container(e.Name) == nil) {
			found = e
		}
	}
	return found
}

// bootScriptFailed is the exit code of eci-remote.sh where it says why.
const bootScriptFailed = 70

func ended(group *eci.Group, c *eci.ContainerStatus) string {
	text := fmt.Sprintf("the %s container of group %s ", c.Name, group.ID)
	if c.Image != "" {
		text += "(image " + eci.OneLine(c.Image) + ") "
	}
	text += fmt.Sprintf("has ended (exit code %d", c.ExitCode)
	if c.Reason != "" {
		text += ", " + eci.OneLine(c.Reason)
	}
	text += ")"
	if message := eci.OneLine(c.Message); message != "" {
		text += ": " + message
	}
	return text
}

// mountProblem is a kind of volume that can't be mounted.
type mountProblem struct {
	words   *regexp.Regexp
	next    string // {server}
	passing bool
}

// ossAdvice is for a bucket that can't be mounted, whatever the message is.
const ossAdvice = "see to it that bucket and url in options of its [[volume]] are right, and that ramRole may use the bucket."

func mountProblems() []mountProblem {
	return []mountProblem{
		{regexp.MustCompile(`nosuchbucket|invalidbucketname`), ossAdvice, false},
		{regexp.MustCompile(`access denied|permission denied|not permitted`),
			"allow the addresses of the vSwitches in the permission group of the mount target {server}; paths of Extreme NAS start with /share.", false},
		{regexp.MustCompile(`no such file or directory`),
			"make the directory on the file system, or set options in its [[nas]]: mounts with options make it.", false},
		{regexp.MustCompile(`failed to resolve|name or service not known|no such host|can't find`),
			"correct server in its [[nas]]: the name {server} does not exist in the VPC of the vSwitches.", false},
		{regexp.MustCompile(`incorrect mount option|invalid argument|protocol not supported|unknown mount option`),
			"correct options in its [[nas]].", false},
		{regexp.MustCompile(``),
			"see to it that the mount target {server} is in the VPC of the vSwitches, and that the security group lets NFS pass (TCP 2049 and 111).", true},
	}
}

// mountFailure says which volume can't be mounted and what to do. Volumes are mounted before
// containers start, so once helper or build runs there is no such failure.
func (s *Stage) mountFailure(group *eci.Group, since func(eci.Event) time.Duration) error {
	if running(group, helperContainer) || running(group, buildContainer) {
		return nil
	}
	for _, e := range slices.Backward(group.Events) {
		if e.Type != "Warning" || !strings.Contains(e.Reason, "Mount") {
			continue
		}
		for _, p := range mountProblems() {
			if !p.words.MatchString(strings.ToLower(e.Message)) {
				continue
			}
			if p.passing && e.Count < 3 && since(e) < patience {
				return nil
			}
			v := s.volumeOf(e.Message)
			next := cmp.Or(v.next, strings.ReplaceAll(p.next, "{server}", v.server))
			return &startError{lasting: !p.passing, event: raw(e), next: next,
				what: fmt.Sprintf("container group %s: %s can't be mounted", group.ID, v.name)}
		}
	}
	return nil
}

// failedVolume is one that can't be mounted.
type failedVolume struct {
	name, server string
	next         string // what to do, where it is not what the message suggests for a NAS
}

// volumeOf finds the [[nas]] or [[volume]] that a message speaks of.
func (s *Stage) volumeOf(message string) failedVolume {
	for _, m := range s.Config.NAS {
		volumes, _ := nasmount.Volumes([]nasmount.Mount{m})
		if strings.Contains(message, `"`+volumes[0].Name+`"`) || strings.Contains(message, m.Server) {
			return failedVolume{name: fmt.Sprintf("the NAS directory %s:%s ([[nas]] %s)", m.Server, m.Path, m.Name), server: m.Server}
		}
	}
	for _, v := range s.Config.Volumes {
		if !strings.Contains(message, `"`+volumePrefix+v.Name+`"`) {
			continue
		}
		failed := failedVolume{name: fmt.Sprintf("the volume %s ([[volume]] of type %s)", v.Name, v.Type), server: "of the volume"}
		if v.Type == config.VolumeOSS {
			failed.next = ossAdvice
		}
		return failed
	}
	return failedVolume{name: "a volume", server: "of the volume"}
}

func lastWarning(group *eci.Group) string {
	for _, e := range slices.Backward(group.Events) {
		if e.Type == "Warning" && !harmless(e) {
			return raw(e)
		}
	}
	return ""
}

// harmless tells whether a Warning says nothing against a group: groups that are well have it.
func harmless(e eci.Event) bool { return e.Reason == "ImageCacheMissed" || e.Reason == "SpotDegraded" }

// raw is an event in ECI's own words.
func raw(e eci.Event) string { return eci.OneLine(strings.TrimSuffix(e.Reason+": "+e.Message, ": ")) }

func running(group *eci.Group, name string) bool {
	c := group.Container(name)
	return c != nil && c.State == "Running"
}
