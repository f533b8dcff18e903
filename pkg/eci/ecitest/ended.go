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

// finish records the end, its bill, and that a deleted group is forgotten, all at once: who
// sees that nothing is live finds the rest done.
func (g *group) finish(phase string) {
	s, stays := g.s, g.s.opts.Switches.DeletedGroupStaysVisible
	s.mu.Lock()
	g.mu.Lock()
	g.phase, g.finished, g.modified = phase, time.Now(), time.Now()
	deleting := g.deleting
	if bill, billed := g.bill(); billed {
		s.bills = append(s.bills, bill)
	}
	if deleting && stays == 0 {
		delete(s.groups, g.id)
	}
	g.mu.Unlock()
	s.mu.Unlock()
	if deleting && stays > 0 {
		s.forget(g, stays)
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
