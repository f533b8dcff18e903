package ecitest

import (
	"context"
	"slices"
	"time"
)

// GroupInfo is a group as a test sees it.
type GroupInfo struct {
	ID, Name, Status string
	Tags             map[string]string
	Containers       map[string]string // name -> Waiting, Running or Terminated

	Created, Placed time.Time            // Placed is the end of Scheduling, from which it is billed
	Started         map[string]time.Time // containers that run
}

// Groups lists all groups that a describe call could show, oldest first.
func (s *Server) Groups() []GroupInfo {
	var infos []GroupInfo
	for _, g := range s.sortedGroups() {
		g.mu.Lock()
		info := GroupInfo{
			ID: g.id, Name: g.spec.Name, Status: g.status(), Tags: map[string]string{}, Containers: map[string]string{},
			Created: g.created, Placed: g.placed, Started: map[string]time.Time{},
		}
		for _, t := range g.spec.Tags {
			info.Tags[t.Key] = t.Value
		}
		for _, c := range g.containers {
			info.Containers[c.spec.Name] = c.current.State
			if c.current.State == "Running" {
				info.Started[c.spec.Name] = c.current.Start
			}
		}
		g.mu.Unlock()
		infos = append(infos, info)
	}
	return infos
}

// Live lists the ids of the groups that are billed or on the way to it: neither
// terminal nor deleted. Tests end with none.
func (s *Server) Live() []string {
	live := []string{}
	for _, g := range s.sortedGroups() {
		if !g.isGone() {
			live = append(live, g.id)
		}
	}
	return live
}

// isGone tells whether the group has come to its end, as answers tell it too; finish has
// then done all that follows.
func (g *group) isGone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over()
}

func (s *Server) sortedGroups() []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return a.seq - b.seq })
	return groups
}

// AwaitNone waits until no group is live and returns none; when ctx ends first,
// the ids of those that are.
func (s *Server) AwaitNone(ctx context.Context) []string {
	for {
		var first *group
		for _, g := range s.sortedGroups() {
			if !g.isGone() {
				first = g
				break
			}
		}
		if first == nil {
			return nil
		}
		select {
		case <-first.gone:
		case <-ctx.Done():
			return s.Live()
		}
	}
}

// TB is the part of testing.TB that LeakCheck needs; the package testing itself
// has no place in the commands that import this one.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// LeakCheck fails the test when a group is live at its end: patience after what
// the test registers for its end later than this.
func LeakCheck(t TB, s *Server, patience time.Duration) {
	t.Helper()
	t.Cleanup(func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		left := s.AwaitNone(ctx)
		if len(left) > 0 {
			t.Errorf("%d container groups left after %s: %v", len(left), patience, left)
			return
		}
		t.Logf("0 container groups left")
	})
}
