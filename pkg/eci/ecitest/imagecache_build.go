package ecitest

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// How long caches are kept (sources.md: caches).
const (
	autoUnused = 7 * 24 * time.Hour  // made by a group and never used since
	autoKept   = 30 * 24 * time.Hour // since the last use
)

// addCache makes a cache. The caller holds mu.
func (s *Server) addCache(region string, spec cacheSpec, auto bool) *imageCache {
	now := time.Now()
	c := &imageCache{
		id: newID("imc"), region: region, auto: auto, cacheSpec: spec,
		status: "Preparing", snapshot: newID("s"), created: now, changed: now,
	}
	s.caches = append(s.caches, c)
	return c
}

// addBuilder makes the temporary group of 2 vCPU and 4 GiB that a build is
// billed for. It is listed and can be deleted like any, and then the build
// fails. The caller holds mu.
func (s *Server) addBuilder(c *imageCache) *group {
	c.builder = s.addGroup(&groupSpec{
		Name: "image-cache-" + c.id, RegionID: c.region, RestartPolicy: "Never", SpotStrategy: "NoSpot",
		VSwitchID: defaultVSwitch, CPU: 2, MemoryGiB: 4, EphemeralStorage: c.Size,
	})
	c.builder.shown = c.builder.created // no fault is met
	return c.builder
}

// build pulls the images and makes the snapshot; failed is the status when that
// can't be done.
func (s *Server) build(c *imageCache, g *group, failed string) {
	defer close(g.gone)
	defer g.cancel()
	held, err := s.buildSteps(g.ctx, c, g)
	g.finish("Succeeded")
	s.forget(g, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		c.event("Warning", "Failed", err.Error())
		c.setStatus(failed)
		return
	}
	c.event("Normal", "Created", "Successfully create image cache.")
	c.held = held
	c.setStatus("Ready")
}

func (s *Server) buildSteps(ctx context.Context, c *imageCache, g *group) (held map[string]Image, err error) {
	s.mu.Lock()
	spec := c.cacheSpec
	c.event("Normal", "Started", "Successfully check image cache resource.")
	if c.status == "Preparing" {
		c.setStatus("Creating")
	}
	s.mu.Unlock()
	g.setPhase("Running")
	held = map[string]Image{}
	for _, ref := range spec.Images {
		if held[ref], err = s.pull(ctx, ref, spec.Registries); err != nil {
			return nil, fmt.Errorf("failed to pull image %q: %w", ref, err)
		}
		s.mu.Lock()
		c.event("Normal", "Pulled", fmt.Sprintf("Successfully pulled image %q", ref))
		s.mu.Unlock()
	}
	if !s.pause(ctx, s.opts.Delays.Cache) {
		return nil, fmt.Errorf("the temporary container group %s was deleted", g.id)
	}
	return held, nil
}

func (c *imageCache) setStatus(status string) { c.status, c.changed = status, time.Now() }

func (c *imageCache) event(kind, reason, message string) {
	c.events = addEvent(c.events, event{Type: kind, Reason: reason, Name: c.Name, Message: message})
}

// expires is when the cache goes away by itself; zero = never.
func (c *imageCache) expires() time.Time {
	switch {
	case c.status == "Failed":
		return c.changed.Add(failedCache)
	case c.auto && c.matched.IsZero():
		return c.created.Add(autoUnused)
	case c.auto:
		return c.matched.Add(autoKept)
	case c.Retention > 0:
		return c.created.Add(time.Duration(c.Retention) * 24 * time.Hour)
	default:
		return time.Time{}
	}
}

// expireCaches removes those whose time is over. The caller holds mu.
func (s *Server) expireCaches() {
	now := time.Now()
	s.caches = slices.DeleteFunc(s.caches, func(c *imageCache) bool {
		end := c.expires()
		return !end.IsZero() && now.After(end)
	})
}

// removeCache forgets a cache and stops its build. The caller holds mu.
func (s *Server) removeCache(c *imageCache) {
	s.caches = slices.DeleteFunc(s.caches, func(o *imageCache) bool { return o == c })
	if c.builder != nil {
		c.builder.cancel()
	}
}

// cacheRoom makes room for one more cache: at the quota the least recently used
// one goes, of those made by CreateImageCache only one marked LRU. The caller
// holds mu.
func (s *Server) cacheRoom(region string, auto bool) bool {
	s.expireCaches()
	most := s.stock.cacheQuota(auto)
	used, victim := 0, (*imageCache)(nil)
	for _, c := range s.caches {
		if c.region != region || c.auto != auto {
			continue
		}
		used++
		if (auto || c.Elimination == "LRU") && (victim == nil || c.lastUse().Before(victim.lastUse())) {
			victim = c
		}
	}
	if used < most {
		return true
	}
	if victim == nil {
		return false
	}
	s.removeCache(victim)
	return true
}

func (c *imageCache) lastUse() time.Time {
	if c.matched.IsZero() {
		return c.created
	}
	return c.matched
}

// cacheQuota is a region's; the defaults are ListUsage's sample.
func (k *Stock) cacheQuota(auto bool) int {
	most, def := k.MaxImageCaches, 500
	if auto {
		most, def = k.MaxAutoImageCaches, 25
	}
	if most == 0 {
		return def
	}
	return most
}
