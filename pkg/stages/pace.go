package stages

import (
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const (
	firstPause = 250 * time.Millisecond // between the first two looks at a group of which nothing is known
	duePause   = 400 * time.Millisecond // between looks when a group is due
	slowPause  = 3 * time.Second
	longPause  = 7 * time.Second

	manyLooks = 14 // after which a wait that is longer than usual gets slower looks
)

// pace says when to look at a group that starts: rarely while it waits for a place, as
// what follows takes its time too, and often about when groups with its images usually
// run. All times count from the answer of the create call.
type pace struct {
	key             string
	known           bool          // whether anything was learned
	guessed         bool          // by groups with other images
	placed, started time.Duration // the shortest time to a place, and nearly the shortest from there on

	looks    int
	last     time.Duration // the last look
	place    time.Duration // when it got its place, as nearly as is known
	isPlaced bool
	late     bool          // the first look comes when others have passed
	eciTook  time.Duration // from the place to the last start by ECI's clock, 0 while not told
}

// pause is for how long not to look, now being the time of the last look.
func (p *pace) pause(now time.Duration) time.Duration {
	var d time.Duration
	switch due := p.place + p.started - duePause; {
	case p.looks == 0 && (!p.known || p.late):
		return 0
	case p.looks == 0:
		return min(p.placed/2+p.started*3/4, longestWait)
	case !p.isPlaced && !p.known:
		d = min(max(firstPause, now*2/3), longPause)
	case !p.isPlaced:
		d = min(max(firstPause, p.started*9/10, now/6), slowPause)
	case p.known && now < due:
		return max(due-now, firstPause)
	case p.guessed:
		d = max(duePause, min((now-due)/2, slowPause))
	case p.known:
		d = max(duePause, min((now-due)/4, slowPause))
	default:
		d = max(firstPause, min((now-p.place)*3/5, 2*longPause))
	}
	if p.looks >= manyLooks {
		d = max(d, now/8)
	}
	return d
}

// looked takes in what a look at now has shown.
func (p *pace) looked(now time.Duration, group *eci.Group) {
	p.looks++
	switch {
	case group == nil || group.Status == "Scheduling":
	case !p.isPlaced:
		p.isPlaced, p.place = true, p.last
		if scheduled := placedAt(group); !scheduled.IsZero() && !group.CreationTime.IsZero() {
			// Of ECI's clock, which tells seconds, only differences count here.
			p.place = min(max(scheduled.Sub(group.CreationTime), p.last), now)
		}
		fallthrough
	default:
		p.eciTook = 0
		if scheduled := placedAt(group); !scheduled.IsZero() {
			for _, c := range group.Containers {
				p.eciTook = max(p.eciTook, c.StartTime.Sub(scheduled))
			}
		}
	}
	p.last = now
}

// placedAt is when a group got its place, by ECI's clock; zero where it does not tell.
func placedAt(group *eci.Group) time.Time {
	for _, e := range group.Events {
		if e.Reason == "Scheduled" {
			return e.First
		}
	}
	return time.Time{}
}

// took is how long the group took from its place to where it was found at a look that
// followed one at notYet: between the two, and as ECI's seconds have it. ok is false
// where that is not known.
func (p *pace) took(notYet, found time.Duration) (took time.Duration, ok bool) {
	low, high := max(0, notYet-p.place), found-p.place
	if p.eciTook > 0 {
		if l, h := max(low, p.eciTook-time.Second), min(high, p.eciTook+time.Second); l <= h {
			low, high = l, h
		}
	}
	return (low + high) / 2, !p.late || p.looks > 1 || p.eciTook > 0
}
