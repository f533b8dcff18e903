package stages

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// story is what prepare tells of its group in the job's log, in a section that GitLab shows
// collapsed: what was asked for, what came, each event once, how long it took.
type story struct {
	out    io.Writer
	clock  Clock
	begun  time.Time
	name   string          // of the section
	header string          // the section's first line; "" once it was printed
	open   bool            // the section has begun and not ended
	spec   eci.GroupSpec   // what is asked for
	shown  map[string]bool // digests of what was told, see once
	phase  string          // the status that the group is in, or what comes before it has one
	since  time.Time       // when that began
	phases []string        // those that are over, with their times
	extras []string        // for the line that stays visible

	created time.Duration // from the beginning until a group was accepted
}

// sectionName is unique in a job's log.
const sectionName = "eci_container_group"

// openStory begins the section.
func openStory(out io.Writer, clock Clock, header string) *story {
	s := newStory(out, clock, sectionName, header)
	s.printf("")
	return s
}

// newStory is a story whose section begins only with the first thing that is told, so that
// nothing is printed where there is nothing to tell.
func newStory(out io.Writer, clock Clock, name, header string) *story {
	return &story{out: out, clock: clock, begun: clock.Now(), name: name, header: header, shown: map[string]bool{}}
}

// close ends the section, once.
func (s *story) close() {
	if s.open {
		s.endPhase()
		s.printf("Times: %s; %s in all\n", strings.Join(s.phases, ", "), seconds(s.clock.Now().Sub(s.begun)))
		s.printf("\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", s.clock.Now().Unix(), s.name)
		s.open = false
	}
}

// printf prints a line of the section, and before the first one the section's beginning. Its
// markers are GitLab's; a terminal does not show them.
func (s *story) printf(format string, args ...any) {
	if s.header != "" {
		header := s.header
		s.header, s.open = "", true
		s.printf("\x1b[0Ksection_start:%d:%s[collapsed=true]\r\x1b[0K%s\n", s.begun.Unix(), s.name, header)
	}
	fmt.Fprintf(s.out, format, args...) //nolint:errcheck // a lost log line changes nothing that is done
}

// request tells what is asked for.
func (s *story) request(spec eci.GroupSpec) {
	s.spec = spec
	line := fmt.Sprintf("Asked for: %g vCPU, %g GiB, %s", spec.CPU, spec.MemoryGiB, billing(spec))
	if len(spec.InstanceTypes) > 0 {
		line += "; of type " + strings.Join(spec.InstanceTypes, ", ")
		if gpus, _ := eci.GPUsOfAll(spec.InstanceTypes); gpus > 0 {
			line += fmt.Sprintf(" (GPUs of build: %d)", gpus)
		}
	}
	if spec.EphemeralStorageGiB > 0 {
		line += fmt.Sprintf("; %d GiB more of disk", spec.EphemeralStorageGiB)
	}
	switch {
	case len(spec.VSwitchIDs) == 1:
		line += "; in vSwitch " + spec.VSwitchIDs[0]
	case len(spec.VSwitchIDs) > 1:
		line += "; in the first of vSwitches " + strings.Join(spec.VSwitchIDs, ", ")
		if spec.ScheduleStrategy == "VSwitchRandom" {
			line = strings.Replace(line, "the first of", "any of", 1)
		}
	}
	s.printf("%s\n", line)
	for _, c := range spec.Containers {
		s.printf("Container %s: image %s (pull policy %s)\n", c.Name, c.Image, c.PullPolicy)
	}
	switch {
	case spec.ImageSnapshotID != "":
		s.printf("Image cache: %s\n", spec.ImageSnapshotID)
	case !spec.AutoMatchImageCache:
		s.printf("Image cache: none is asked for\n")
	}
}

func billing(spec eci.GroupSpec) string {
	switch spec.SpotStrategy {
	case "SpotAsPriceGo":
		return "spot at the market price"
	case "SpotWithPriceLimit":
		return fmt.Sprintf("spot for up to %g an hour", spec.SpotPriceLimit)
	}
	return "pay-as-you-go"
}

// again tells why, and how, another group is asked for.
func (s *story) again(reason error, change string, spec eci.GroupSpec) {
	s.spec, s.extras = spec, nil
	why, _, _ := strings.Cut(reason.Error(), "\n")
	s.printf("%s\nTrying again %s\n", why, change)
}

// accepted tells the id, the moment from which the group exists.
func (s *story) accepted(id string) {
	s.created = s.clock.Now().Sub(s.begun)
	s.printf("Container group %s was accepted after %s\n", id, seconds(s.created))
	s.enter("until seen")
}

// enter begins a phase.
func (s *story) enter(phase string) {
	if phase != s.phase {
		s.endPhase()
		s.phase, s.since = phase, s.clock.Now()
	}
}

func (s *story) endPhase() {
	if s.phase != "" {
		s.phases = append(s.phases, s.phase+" "+seconds(s.clock.Now().Sub(s.since)))
		s.phase = ""
	}
}

// status tells the state of the group.
func (s *story) status(id, status string) {
	if status == "" || status == s.phase {
		return
	}
	s.enter(status)
	if s.once("status " + id + status) {
		s.printf("Container group %s is %s\n", id, eci.OneLine(status))
	}
}

// look tells what is new about the group.
func (s *story) look(group *eci.Group) {
	s.status(group.ID, group.Status)
	if group.Status != "ScheduleFailed" {
		s.place(group)
	}
	for _, e := range group.Events {
		s.event(group, e)
	}
}

// place tells where the group is and which size is billed.
func (s *story) place(group *eci.Group) {
	var place []string
	if group.ZoneID != "" {
		place = append(place, "zone "+group.ZoneID)
	}
	if group.VSwitchID != "" {
		place = append(place, "vSwitch "+group.VSwitchID)
	}
	if text := strings.Join(place, ", "); text != "" && s.once("place "+group.ID+text) {
		s.printf("Placed in %s\n", text)
	}
	if group.CPU > 0 && s.once(fmt.Sprintf("size %s %g %g", group.ID, group.CPU, group.MemoryGiB)) {
		line := fmt.Sprintf("Billed as %g vCPU, %g GiB", group.CPU, group.MemoryGiB)
		if group.CPU != s.spec.CPU || group.MemoryGiB != s.spec.MemoryGiB {
			line += fmt.Sprintf(" (asked for %g vCPU, %g GiB)", s.spec.CPU, s.spec.MemoryGiB)
		}
		s.printf("%s\n", line)
		s.rounding(group)
	}
}

// rounding tells where ECI's rounding adds more than a quarter to what was asked for.
func (s *story) rounding(group *eci.Group) {
	more := func(billed, asked float64) bool { return asked > 0 && billed > asked*1.25 }
	if len(s.spec.InstanceTypes) == 0 && (more(group.CPU, s.spec.CPU) || more(group.MemoryGiB, s.spec.MemoryGiB)) {
		s.printf("Note: the nearest size that fits is %g vCPU, %g GiB: to ask for that costs the same, for less perhaps less\n", group.CPU, group.MemoryGiB)
	}
}

// event tells an event once, however often it has happened since.
func (s *story) event(group *eci.Group, e eci.Event) {
	words := e.Words()
	if words == "" || !s.once("event "+group.ID+e.Type+e.Name+words) {
		return
	}
	if group.Container(e.Name) != nil {
		words = e.Name + ": " + words
	}
	if e.Type == "Warning" {
		words = "Warning: " + words
	}
	s.printf("%s\n", words)
	switch e.Reason {
	case "SuccessfulHitImageCache":
		s.extras = append(s.extras, "image cache used")
	case "ImageCacheMissed":
		s.extras = append(s.extras, "no image cache fitted")
	case "SpotDegraded":
		s.spec.SpotStrategy = ""
	case "Pulled":
		s.stale(e)
	}
}

// stale warns of an image whose tag moves and that came from an image cache: nobody has
// asked the registry whether the tag still stands for the same image.
func (s *story) stale(e eci.Event) {
	if !strings.Contains(e.Message, "already present") {
		return
	}
	for _, c := range s.spec.Containers {
		if names(e.Message, c.Image) && moves(c.Image) && s.once("stale "+c.Image) {
			s.printf("Note: the tag of %s moves, and the image came from a cache without a look at the registry: it may be out of date. With pull policy always the registry is asked.\n", c.Image)
			s.extras = append(s.extras, "perhaps stale: "+c.Image)
		}
	}
}

// moves tells whether an image's tag is one that is meant to move: none, latest,
// or a word without a number, such as stable.
func moves(image string) bool {
	ref, err := reference.ParseDockerRef(image) // adds latest
	if err != nil {
		return false
	}
	if _, fixed := ref.(reference.Digested); fixed {
		return false
	}
	tagged, ok := ref.(reference.Tagged)
	return ok && !strings.ContainsAny(tagged.Tag(), "0123456789")
}

// once is true the first time that it is called with a fact. Stories keep digests of what
// they have told, because these go into state_dir.
func (s *story) once(fact string) bool {
	fact = digest(fact)[:12]
	told := s.shown[fact]
	s.shown[fact] = true
	return !told
}

// facts are the digests of what was told, for another story of the same group, which takes
// them over by knows.
func (s *story) facts() []string { return slices.Sorted(maps.Keys(s.shown)) }

// knows keeps the story from telling again what another one has told.
func (s *story) knows(facts []string) {
	for _, fact := range facts {
		s.shown[fact] = true
	}
}

// times tells how long each phase took by ECI's own clock: though it has whole seconds, that
// is more exact than our looks, which may come late.
func (s *story) times(group *eci.Group) {
	var parts []string
	for _, p := range phasesOf(group) {
		parts = append(parts, fmt.Sprintf("%s %.0f s", map[string]string{"schedule": "a place", "pull": "images", "start": "containers"}[p.name], p.took.Seconds()))
	}
	if len(parts) > 0 {
		s.printf("By ECI's clock: %s\n", strings.Join(parts, ", "))
	}
}

// phase is a part of a group's start: schedule until it has its place, pull until its last
// image is there, start until its last container was started.
type phase struct {
	name string // schedule, pull or start
	took time.Duration
}

// phasesOf are the phases of a start as far as ECI's own clock tells them.
func phasesOf(group *eci.Group) (phases []phase) {
	var placed, pulled, started time.Time
	for _, e := range group.Events {
		switch e.Reason {
		case "Scheduled":
			placed = e.First
		case "Pulled":
			pulled = latest(pulled, e.First)
		}
	}
	for _, c := range group.Containers {
		started = latest(started, c.StartTime)
	}
	at := group.CreationTime
	for _, p := range []struct {
		name string
		end  time.Time
	}{{"schedule", placed}, {"pull", pulled}, {"start", started}} {
		if !at.IsZero() && !p.end.Before(at) {
			phases = append(phases, phase{p.name, p.end.Sub(at)})
			at = p.end
		}
	}
	return phases
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ready is the one line that stays visible when all went well.
func (s *story) ready(group *eci.Group) {
	s.times(group)
	s.endPhase()
	s.phases = slices.DeleteFunc(s.phases, func(p string) bool { return strings.HasPrefix(p, group.Status+" 0.0") })
	s.close()
	line := fmt.Sprintf("Container group %s is ready after %s", group.ID, seconds(s.clock.Now().Sub(s.begun)))
	if images := waiting(group); images != "" {
		line = fmt.Sprintf("Container group %s is ready for the helper's scripts after %s, while %s", group.ID, seconds(s.clock.Now().Sub(s.begun)), images)
	}
	if group.CPU > 0 {
		line += fmt.Sprintf(": %g vCPU, %g GiB", group.CPU, group.MemoryGiB)
	}
	if group.ZoneID != "" {
		line += " in " + group.ZoneID
	}
	line += ", " + billing(s.spec)
	for _, extra := range slices.Compact(s.extras) {
		line += ", " + extra
	}
	s.printf("%s\n", line)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
