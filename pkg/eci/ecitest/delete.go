package ecitest

import (
	"net/http"
	"time"
)

// deleteContainerGroup answers at once; the group shows Terminating while its
// containers get TERM, the grace period and KILL. Force skips the grace period.
// Deleting a group again that is on its way is success.
func (s *Server) deleteContainerGroup(p *params) (map[string]any, *apiError) {
	id := p.required("ContainerGroupId")
	force := p.boolean("Force", false)
	p.clientToken()
	if p.err != nil {
		return nil, p.err
	}
	if force && s.opts.Switches.ForceDeleteRefused {
		return nil, invalid("UnsupportedOperation", "the parameter Force is not supported")
	}
	s.mu.Lock()
	g := s.groups[id]
	s.mu.Unlock()
	if g == nil {
		if code := s.opts.Switches.UnknownIDOnDelete; code != "" {
			return nil, &apiError{http.StatusBadRequest, code, "the container group " + id + " does not exist"}
		}
		return map[string]any{}, nil
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
	status := g.status()
	if code := g.s.opts.Switches.DeleteTwice; code != "" && g.deleting {
		return invalid(code, "the container group %s is being deleted", g.id)
	}
	if status == g.s.opts.Switches.DeleteRefusedWhile {
		return invalid("IncorrectStatus", "the container group is %s", status)
	}
	return nil
}

// delete ends the group; once more is nothing.
func (g *group) delete(force bool) {
	g.mu.Lock()
	first := !g.deleting
	if first {
		g.deleting, g.modified = true, time.Now()
		g.abrupt = force || g.s.opts.Switches.DeleteKillsAtOnce
	}
	over := g.over()
	g.mu.Unlock()
	switch {
	case first && over:
		g.s.forget(g, g.s.opts.Switches.DeletedGroupStaysVisible)
	case first:
		g.event("Normal", "Killing", "", "Stopping container group "+g.spec.Name)
		g.cancel()
	}
}
