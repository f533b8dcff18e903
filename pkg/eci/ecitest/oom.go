package ecitest

import (
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// oomLook is how often running containers are looked at for processes that were
// killed for memory: the kernel has an event for the shortage, none for the kill.
const oomLook = 500 * time.Millisecond

// lookForOOM tells the kills among containers that go on.
func (g *group) lookForOOM() {
	for _, c := range g.containers {
		if run := g.running(c.spec.Name); run != nil {
			c.noteOOM(run.OOMKills())
		}
	}
}

// noteOOM tells of the n-th kill for memory in the container, unless it was told.
func (c *container) noteOOM(n int) {
	c.g.mu.Lock()
	fresh := n > c.oomKills
	c.oomKills = max(n, c.oomKills)
	c.g.mu.Unlock()
	if fresh {
		c.g.event("Warning", "OOMKilled", c.spec.Name, fmt.Sprintf("Memory limit reached: a process of container %s was killed", c.spec.Name))
	}
}

// endOOM tells whether the container that has ended lost a process for memory,
// and starts to count anew.
func (c *container) endOOM(st sandbox.Status) bool {
	if st.OOMKilled {
		c.noteOOM(st.OOMKills)
	}
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	oom := c.oomKills > 0
	c.oomKills = 0
	return oom
}
