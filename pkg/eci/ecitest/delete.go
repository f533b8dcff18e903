package ecitest

import (
	"net/http"
	"strings"
	"time"
)

func deleteContainerGroupAction() action {
	return action{perMinute: 1000, params: "ContainerGroupId ClientToken Force", serve: (*Server).deleteContainerGroup}
}

// deleteContainerGroup answers at once; the group shows Terminating while its
// containers get TERM, the grace period and KILL. Force skips the grace period.
// Unless switches say otherwise, deleting a group that is on its way is success.
func (s *Server) deleteContainerGroup(p *params) (map[string]any, *apiError) {
	id := p.required("ContainerGroupId")
	force := p.boolean("Force", false)
	if p.err != nil {
		return nil, p.err
	}
	if force && s.opts.Switches.ForceDeleteRefused {
		return nil, invalid("UnsupportedOperation", "the parameter Force is not supported")
	}
	g := s.group(p.str("RegionId"), id)
	if g == nil {
		return map[string]any{}, unknown(s.opts.Switches.UnknownIDOnDelete, "the container group %s does not exist", id)
	}
	g.mu.Lock()
	if code := g.deleteRefused(); code != "" {
		g.mu.Unlock()
		return nil, invalid(code, "Request was denied due to conflict with a previous request.")
	}
	first, over := !g.deleting, g.over()
	if first {
		g.deleting, g.modified = true, time.Now()
		if g.grace = g.spec.Grace; force {
			g.grace = 0
		}
	}
	g.mu.Unlock()
	switch {
	case first && over:
		s.forget(g, s.opts.Switches.DeletedGroupStaysVisible)
	case first:
		g.event("Normal", "Killing", "", "Stopping container group "+g.spec.Name)
		g.cancel()
	}
	return map[string]any{}, nil
}

// deleteRefused is the code that a switch has for the group's status. The caller
// holds mu.
func (g *group) deleteRefused() string {
	switch {
	case g.deleting:
		return g.s.opts.Switches.DeleteWhileTerminating
	case g.phase == "Scheduling":
		return g.s.opts.Switches.DeleteWhileScheduling
	default:
		return ""
	}
}

// group finds a group of a region, nil if there is none.
func (s *Server) group(region, id string) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[id]; g != nil && g.spec.RegionID == region {
		return g
	}
	return nil
}

// unknown refuses an id that does not exist with a switch's code, nil without one.
func unknown(code, format string, args ...any) *apiError {
	if code == "" {
		return nil
	}
	e := notFound(format, args...)
	if e.Code = code; !strings.HasSuffix(code, "NotFound") {
		e.Status = http.StatusBadRequest
	}
	return e
}
