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
// containers get TERM, the grace period and KILL. Force skips the grace period,
// or what is left of it. Unless switches say otherwise, deleting a group that is on its
// way is success.
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
	if refusal := g.deletable(); refusal != nil {
		return nil, refusal
	}
	g.delete(force)
	return map[string]any{}, nil
}

// deletable is what the switches have against a delete now.
func (g *group) deletable() *apiError {
	g.mu.Lock()
	defer g.mu.Unlock()
	code := ""
	switch g.status() {
	case "Terminating":
		code = g.s.opts.Switches.DeleteWhileTerminating
	case "Scheduling":
		code = g.s.opts.Switches.DeleteWhileScheduling
	}
	if code == "" {
		return nil
	}
	return invalid(code, "The container group %s is %s.", g.id, g.status())
}

// delete ends the group; once more is nothing, but that force cuts a grace period short.
func (g *group) delete(force bool) {
	g.mu.Lock()
	first, over := !g.deleting, g.over()
	if first {
		g.deleting, g.deleted = true, time.Now()
		g.modified = g.deleted
	}
	if force || first && g.s.opts.Switches.DeleteKillsAtOnce {
		g.hurry()
	}
	g.mu.Unlock()
	switch {
	case first && over:
		g.s.forget(g, g.s.opts.Switches.DeletedGroupStaysVisible)
	case first:
		g.event("Normal", "Killing", "", "Stopping container group "+g.spec.Name)
		g.cancel()
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
