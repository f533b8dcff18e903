package stages

import (
	"fmt"
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const (
	// afterExpiry is how long after its tag expires-at a group is let be: ECI ends
	// it by itself at about that time.
	afterExpiry = 5 * time.Minute
	// afterEnd is how long an ended group is kept to be looked at.
	afterEnd = 10 * time.Minute
)

// verdict is what is to be done with a group.
type verdict struct {
	remove bool
	why    string
}

func keep(format string, args ...any) verdict { return verdict{false, fmt.Sprintf(format, args...)} }

func end(format string, args ...any) verdict { return verdict{true, fmt.Sprintf(format, args...)} }

// judge decides about one group. over says that a cleanup of this host recorded
// its attempt as over; now is the server's time, zero where that is not known.
func (r *reaping) judge(g *eci.Group, over bool, now time.Time) verdict {
	expires, ended := expiry(g.Tags), endOf(g)
	for _, tag := range []string{tagInstance, tagRunner, tagAttempt, tagExpiresAt} {
		if g.Tags[tag] == "" {
			return keep("its tag %s is missing", tag)
		}
	}
	switch {
	case expires.IsZero():
		return keep("its tag %s is unreadable: %.40q", tagExpiresAt, g.Tags[tagExpiresAt])
	case !over && !r.runners.has(runnerOf(g.Tags)): // a record of this host says more than the list of its runners
		return keep("of another runner: %q of %q", g.Tags[tagRunner], g.Tags[tagInstance])
	case !r.oldEnough(g, now):
		return keep("not older than %s", r.options.OlderThan)
	case !now.IsZero() && now.After(expires.Add(afterExpiry)): // even where an earlier delete got stuck
		return end("expired %s ago", age(now, expires))
	case g.Status == statusTerminating:
		return keep("is being deleted")
	case over:
		return end("its job is over, by the cleanup on this host")
	case now.IsZero():
		return keep("the server's time is not known")
	case g.Terminal() && !ended.IsZero() && now.After(ended.Add(afterEnd)):
		return end("ended %s ago", age(now, ended))
	case g.Terminal() && !ended.IsZero():
		return keep("ended %s ago", age(now, ended))
	}
	if now.After(expires) {
		return keep("expired %s ago, not yet %s", age(now, expires), afterExpiry)
	}
	if until := r.kept[g.ID]; !until.IsZero() {
		return keep("for a look until %s, because its job failed", until.UTC().Format(hourLayout))
	}
	return keep("may run for %s", age(expires, now))
}

func (r *reaping) oldEnough(g *eci.Group, now time.Time) bool {
	if r.options.OlderThan == 0 {
		return true
	}
	return !now.IsZero() && !g.CreationTime.IsZero() && now.Sub(g.CreationTime) >= r.options.OlderThan
}

func age(now, then time.Time) time.Duration { return max(now.Sub(then).Round(time.Second), 0) }

// endOf is when a group ended: the time of its status, else the last that is
// known of it, because a group that could not be scheduled has none
// (sources.md: describe).
func endOf(g *eci.Group) time.Time {
	times := []time.Time{g.SucceededTime, g.FailedTime, g.ExpiredTime}
	if last := slices.MaxFunc(times, time.Time.Compare); !last.IsZero() {
		return last
	}
	times = []time.Time{g.CreationTime}
	for _, c := range g.Containers {
		times = append(times, c.FinishTime)
	}
	for _, e := range g.Events {
		times = append(times, e.Last)
	}
	return slices.MaxFunc(times, time.Time.Compare)
}

// scope is the runners whose groups are to be deleted.
type scope struct {
	told  string   // by --runner: no other one
	name  string   // runner_name of the driver's file
	known []Runner // whose groups this host has made
}

func (s scope) has(r Runner) bool {
	if s.told != "" {
		return r.Runner == tagValue(s.told)
	}
	return s.name != "" && r.Runner == tagValue(s.name) || slices.Contains(s.known, r)
}

// hasRecord is has for a record of this host, whose runner is this host's.
func (s scope) hasRecord(r *Record) bool {
	return s.told == "" || r.Tags[tagRunner] == tagValue(s.told)
}

func (s scope) empty() bool { return s.told == "" && s.name == "" && len(s.known) == 0 }
