package ecitest

import "time"

// Bill is the time for which ECI would bill a group that has ended.
type Bill struct {
	GroupID     string
	From, Until time.Time
	Deleted     time.Time // zero where it ended by itself
	Gone        time.Time
}

// Bills are those of all groups that have ended so far and were billed at all, in the
// order of their ends.
func (s *Server) Bills() []Bill {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Bill(nil), s.bills...)
}

// bill is that of a group that has just ended; false where it was never billed. The
// caller holds mu.
func (g *group) bill() (Bill, bool) {
	if g.billed.IsZero() {
		return Bill{}, false
	}
	b := Bill{GroupID: g.id, From: g.billed, Until: g.finished, Deleted: g.deleted, Gone: g.finished}
	if g.deleting && g.s.opts.Switches.BillingStopsAtDelete {
		b.Until = g.deleted
	}
	return b, true
}
