package ecitest

import (
	"slices"
	"time"
)

// What is listed of groups that have ended: all for Delays.Keep, then the latest
// keptTerminal of a region; those that could not be placed for keepFailed.
const (
	keptTerminal = 100
	keepFailed   = 24 * time.Hour
)

// finish records the end and, for a deleted group, forgets it.
func (g *group) finish(phase string) {
	g.mu.Lock()
	g.phase, g.finished, g.modified = phase, time.Now(), time.Now()
	deleting := g.deleting
	bill, billed := g.bill()
	g.mu.Unlock()
	if billed {
		g.s.mu.Lock()
		g.s.bills = append(g.s.bills, bill)
		g.s.mu.Unlock()
	}
	if deleting {
		g.s.forget(g, g.s.opts.Switches.DeletedGroupStaysVisible)
	}
}

// forget takes the group out of all answers after d.
func (s *Server) forget(g *group, d time.Duration) {
	remove := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.groups, g.id)
	}
	if d == 0 {
		remove()
		return
	}
	s.start(func() {
		if s.pause(s.ctx, d) {
			remove()
		}
	})
}

// prune forgets groups that have ended for too long to be listed.
func (s *Server) prune() {
	listed := map[string]int{} // terminal groups by region
	for _, g := range slices.Backward(s.sortedGroups()) {
		g.mu.Lock()
		over, failed, age := g.over() && !g.deleting, g.phase == "ScheduleFailed", time.Since(g.finished)
		g.mu.Unlock()
		switch {
		case !over:
		case failed:
			if age > keepFailed {
				s.forget(g, 0)
			}
		default:
			if listed[g.spec.RegionID]++; listed[g.spec.RegionID] > keptTerminal && age > s.opts.Delays.Keep {
				s.forget(g, 0)
			}
		}
	}
}
