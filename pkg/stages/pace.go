package stages

import (
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Pauses between two looks at a group that starts. A look is one describe call.
const (
	firstPause = 250 * time.Millisecond // the shortest, as long as nothing is known of the group
	duePause   = 200 * time.Millisecond // once the group is due, by what such groups took before
	seekPause  = 800 * time.Millisecond // once it has its place, where its images are new to this host
	slowPause  = 3 * time.Second        // the longest where its images are known

	// Without a place: where this host has started groups with other images, and where
	// it has started none. blindPause, blindGrowth and seekPause together leave 15 looks
	// for a group that gets its place after 30 s and pulls for 8 s, and still find a
	// group soon whose pulls are shorter than the pause.
	guessPause = 5 * time.Second
	blindPause = 5900 * time.Millisecond

	// By this factor of the time that has passed, pauses grow where nothing is known: few
	// looks go into the first seconds, since a group that the local ECI or a quiet zone
	// places at once is found by the first of them.
	blindGrowth = 6

	manyLooks = 14 // a wait with more of them is longer than usual, and looks less often
)

// pace says when to look at a group that starts. Until the group has its place (a zone
// and a machine; its status is Scheduling until then) looks are rare, because pulls
// follow anyway. After that they come close together around the time at which groups
// with the same images usually run, or evenly where this host has not started any. All
// times count from the answer to the create call.
type pace struct {
	// What earlier groups of this host took, from startup.json.
	key     string        // of the group's images
	host    bool          // some group was timed here ...
	known   bool          // ... and one with these images
	toPlace time.Duration // the shortest time until a group had its place
	toStart time.Duration // from the place until all ran: nearly the shortest with these images

	// What is known of this group.
	spent    int           // looks of an earlier wait for it
	looks    int           // of this wait
	last     time.Duration // when it was last known not to run, by a look or otherwise
	place    time.Duration // when it got its place, as nearly as can be told
	isPlaced bool
	late     bool          // others have waited for the group before: it may run by now
	eciTook  time.Duration // from the place to the last start, by ECI's clock; 0 = not told
}

// pause is how long to wait until the next look; now is the time of the last one.
func (p *pace) pause(now time.Duration) time.Duration {
	switch {
	case p.late && p.last == 0:
		return 0
	case !p.isPlaced:
		return p.pauseForPlace(now)
	case p.known:
		return p.pauseUntilDue(now)
	}
	return p.pauseForStart(now)
}

// pauseForPlace is for a group that has no place yet.
func (p *pace) pauseForPlace(now time.Duration) time.Duration {
	switch {
	case p.known && p.looks == 0:
		return min(p.toPlace/2+p.toStart*3/4, longestWait)
	case p.host && p.looks == 0:
		return min(p.toPlace/2, slowPause)
	case p.known:
		return p.slower(min(max(firstPause, p.toStart*9/10, now/6), slowPause), now)
	case p.host:
		return p.slower(min(max(firstPause, now*2), guessPause), now)
	}
	return p.slower(min(max(firstPause, now*blindGrowth), blindPause), now)
}

// pauseUntilDue is for a group that has its place and whose images are known here.
func (p *pace) pauseUntilDue(now time.Duration) time.Duration {
	due := p.place + p.toStart - duePause
	if now < due {
		return max(due-now, firstPause)
	}
	return p.slower(max(duePause, min((now-due)/4, slowPause)), now)
}

// pauseForStart is for a group that has its place and whose images are new here.
func (p *pace) pauseForStart(now time.Duration) time.Duration {
	since := now - p.place
	d := max(min(max(firstPause, now/3), seekPause), since/12)
	if p.looks+p.spent >= manyLooks {
		d = max(d, since/2)
	}
	return min(d, 2*blindPause)
}

// slower lengthens the pauses of a wait that is longer than usual.
func (p *pace) slower(d, now time.Duration) time.Duration {
	if p.looks < manyLooks {
		return d
	}
	return max(d, now/8)
}

// looked takes in what a look has shown; group is nil where it was not listed.
func (p *pace) looked(now time.Duration, group *eci.Group) {
	p.looks++
	if group != nil && group.Status != "Scheduling" {
		p.placedIn(group, now)
	}
	p.last = now
}

// placedIn takes in a group that has its place.
func (p *pace) placedIn(group *eci.Group, now time.Duration) {
	scheduled := placedAt(group)
	if !p.isPlaced {
		p.isPlaced, p.place = true, p.last
		if !scheduled.IsZero() && !group.CreationTime.IsZero() {
			// ECI's clock tells whole seconds and may differ from ours: only the
			// difference of two of its times is used.
			p.place = min(max(scheduled.Sub(group.CreationTime), p.last), now)
		}
	}
	p.eciTook = 0
	if scheduled.IsZero() {
		return
	}
	for _, c := range group.Containers {
		p.eciTook = max(p.eciTook, c.StartTime.Sub(scheduled))
	}
}

// placedAt is when a group got its place, by ECI's clock; zero where no event tells.
func placedAt(group *eci.Group) time.Time {
	for _, e := range group.Events {
		if e.Reason == "Scheduled" {
			return e.First
		}
	}
	return time.Time{}
}

// took estimates how long the group took from its place until it ran: it did not run at
// notYet, the look before the last, and ran at found, the last. Where ECI's own times
// (whole seconds) fit in between, they narrow the estimate. ok is false where nothing
// bounds it from below.
func (p *pace) took(notYet, found time.Duration) (took time.Duration, ok bool) {
	low, high := max(0, notYet-p.place), found-p.place
	if p.eciTook > 0 {
		if l, h := max(low, p.eciTook-time.Second), min(high, p.eciTook+time.Second); l <= h {
			low, high = l, h
		}
	}
	return (low + high) / 2, !p.late || notYet > 0 || p.eciTook > 0
}
