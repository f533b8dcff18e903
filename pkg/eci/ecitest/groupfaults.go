package ecitest

import (
	"fmt"
	"net/url"
	"syscall"
	"time"
)

// meet asks for the fault of a group that a create call with parameters v makes.
// Until then nobody sees the group.
func (g *group) meet(v url.Values) {
	fault := g.s.groupFault(v)
	hidden := g.s.opts.Switches.NewGroupHiddenFor
	if fault.HiddenFor > 0 {
		hidden = fault.HiddenFor
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault, g.shown = fault, g.created.Add(hidden)
}

// hidden tells whether describe calls leave the group out.
func (g *group) hidden() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shown.IsZero() || time.Now().Before(g.shown)
}

// await waits until a fault lets the group go on; nil is no fault. False when the group ends
// first.
func (g *group) await(until <-chan struct{}) bool {
	if until == nil {
		return true
	}
	select {
	case <-until:
		return true
	case <-g.ctx.Done():
		return false
	}
}

// strike carries out what comes after the group is Running.
func (g *group) strike() {
	if g.fault.Kill == "" && !g.fault.Reclaim && !g.fault.Delete {
		return
	}
	select {
	case <-g.up:
	case <-g.ctx.Done():
		return
	}
	if !g.s.pause(g.ctx, g.fault.After) {
		return
	}
	if name := g.fault.Kill; name != "" {
		kill := g.kill
		if g.fault.OOM {
			kill = g.starve
		}
		if err := kill(name); err != nil {
			g.s.opts.Log("ecitest: %v", err)
		}
	}
	if g.fault.Reclaim {
		g.reclaim(g.fault.Notice)
	}
	if g.fault.Delete {
		g.delete(true)
	}
}

// pullFailure is why an image can't be pulled on request.
func (f GroupFault) pullFailure(image string) (why string, fails bool) {
	if why, fails = f.Pull[image]; !fails {
		why, fails = f.Pull["*"]
	}
	return why, fails
}

func (g *group) kill(name string) error {
	c := g.running(name)
	if c == nil {
		return fmt.Errorf("kill container: no running container %s in %s", name, g.id)
	}
	return c.Signal(syscall.SIGKILL)
}

// starve kills a container's first process for want of memory.
func (g *group) starve(name string) error {
	if c := g.container(name); c != nil {
		c.noteOOM(1)
	}
	return g.kill(name)
}

// reclaim takes a spot instance away: a warning, and after notice the end.
func (g *group) reclaim(notice time.Duration) {
	g.event("Warning", "SpotToBeReleased", "", fmt.Sprintf("Spot instance will be released in %s", notice))
	if !g.s.pause(g.ctx, notice) {
		return
	}
	g.mu.Lock()
	g.end = "Expired"
	g.hurry()
	g.mu.Unlock()
	g.cancel()
}

func (s *Server) lookUp(groupID string) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("no container group %s", groupID)
}

// ReclaimGroup takes the group's spot instance away, as GroupFault.Reclaim does,
// and returns when it has been told to end.
func (s *Server) ReclaimGroup(groupID string, notice time.Duration) error {
	g, err := s.lookUp(groupID)
	if err != nil {
		return err
	}
	g.reclaim(notice)
	return nil
}

// DeleteGroup deletes a group without an API call, as somebody at the console
// does. It does not wait for the end.
func (s *Server) DeleteGroup(groupID string) error {
	g, err := s.lookUp(groupID)
	if err != nil {
		return err
	}
	g.delete(true)
	return nil
}
