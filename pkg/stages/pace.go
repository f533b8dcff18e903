package stages

import (
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const (
	firstPause = 250 * time.Millisecond // the shortest one, where nothing is known of a group
	duePause   = 200 * time.Millisecond // between looks when a group is due
	seekPause  = 800 * time.Millisecond // between looks at a placed group that may run at any moment
	slowPause  = 3 * time.Second

	// Between looks at a group without a place, where nothing is known of what follows
	// on it: with blindGrowth and seekPause they leave 15 looks for a place of 30 s and
	// pulls of 8 s, and find one whose pulls are shorter than the pause soon.
	blindPause = 5900 * time.Millisecond
	guessPause = 5 * time.Second // where the host knows how soon a place may come

	// Few looks are spent on the first seconds of such a group: one that the local ECI
	// or a quiet zone places at once is found by the first.
	blindGrowth = 6

	manyLooks = 14 // after which a wait that is longer than usual gets slower looks
)

// pace says when to look at a group that starts: rarely while it waits for a place, as
// what follows takes its time too, and often about when groups with its images usually
// run, or at all times from the place on where that is not known. All times count from
// the answer of the create call.
type pace struct {
	key             string
	host            bool          // groups of this host are known, ...
	known           bool          // ... and such with these images
	placed, started time.Duration // the shortest time to a place, and nearly the shortest from there on

	spent    int // looks of an earlier wait for the same group
	looks    int
	last     time.Duration // the last look, or when it was told otherwise that the group does not run
	place    time.Duration // when it got its place, as nearly as is known
	isPlaced bool
	late     bool          // the first look comes when others have passed
	eciTook  time.Duration // from the place to the last start by ECI's clock, 0 while not told
}

// pause is for how long not to look, now being the time of the last look.
func (p *pace) pause(now time.Duration) time.Duration {
	var d time.Duration
	switch due := p.place + p.started - duePause; {
	case p.late && p.last == 0:
		return 0
	case p.looks == 0 && !p.isPlaced && p.known:
		return min(p.placed/2+p.started*3/4, longestWait)
	case p.looks == 0 && !p.isPlaced && p.host:
		return min(p.placed/2, slowPause)
	case !p.isPlaced && p.known:
		d = min(max(firstPause, p.started*9/10, now/6), slowPause)
	case !p.isPlaced && p.host:
		d = min(max(firstPause, now*2), guessPause)
	case !p.isPlaced:
		d = min(max(firstPause, now*blindGrowth), blindPause)
	case p.known && now < due:
		return max(due-now, firstPause)
	case p.known:
		d = max(duePause, min((now-due)/4, slowPause))
	default:
		d = max(min(max(firstPause, now/3), seekPause), (now-p.place)/12)
		if p.looks+p.spent >= manyLooks {
			d = max(d, (now-p.place)/2)
		}
		return min(d, 2*blindPause)
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
	return (low + high) / 2, !p.late || notYet > 0 || p.eciTook > 0
}
