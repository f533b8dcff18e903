package ecitest

import (
	"maps"
	"net/http"
	"slices"
	"time"
)

// hits is how many of the images the cache holds, by reference.
func (c *imageCache) hits(images []string) int {
	n := 0
	for _, image := range images {
		if slices.Contains(c.Images, image) {
			n++
		}
	}
	return n
}

// checkSnapshot refuses an ImageSnapshotId that can't be used. The caller holds mu.
func (s *Server) checkSnapshot(g *groupSpec) *apiError {
	if g.ImageSnapshotID == "" {
		return nil
	}
	c := s.cache(g.RegionID, g.ImageSnapshotID)
	switch {
	case c == nil:
		return &apiError{http.StatusNotFound, "ImageSnapshot.NotFound", "the image cache " + g.ImageSnapshotID + " does not exist"}
	case c.status != "Ready":
		return invalid("ImageSnapshot.IncorrectStatus", "the image cache %s is %s", c.id, c.status)
	default:
		return nil
	}
}

// matchCache chooses the cache that a group starts from: the one it names, or
// with AutoMatchImageCache the Ready one that holds most of its images, of
// several the newest. Without one a cache of its images is made meanwhile.
// (ECI also compares sizes and, within a repository, tags.)
func (s *Server) matchCache(g *group) {
	spec := g.spec
	if spec.ImageSnapshotID == "" && !spec.AutoMatchImageCache {
		return
	}
	var images []string
	for _, c := range spec.Containers {
		if !slices.Contains(images, c.Image) {
			images = append(images, c.Image)
		}
	}
	s.mu.Lock()
	var best *imageCache
	if spec.ImageSnapshotID != "" {
		best = s.cache(spec.RegionID, spec.ImageSnapshotID)
	} else {
		for _, c := range s.caches {
			if c.region == spec.RegionID && c.status == "Ready" && c.hits(images) > 0 && (best == nil || c.hits(images) >= best.hits(images)) {
				best = c
			}
		}
	}
	var made *imageCache
	if best != nil {
		best.matched = time.Now()
	} else if spec.ImageSnapshotID == "" && s.cacheRoom(spec.RegionID, true) {
		made = s.addCache(spec.RegionID, cacheSpec{
			Name: "auto-create-for-" + g.id, Images: images, Size: 30 + spec.EphemeralStorage, Elimination: "LRU", Registries: spec.Registries,
		}, true)
	}
	s.mu.Unlock()
	g.cacheEvents(best, made)
	if made != nil {
		s.start(func() { s.buildAuto(made) })
	}
}

func (g *group) cacheEvents(best, made *imageCache) {
	switch {
	case best != nil:
		g.s.mu.Lock()
		held := best.held
		g.s.mu.Unlock()
		g.mu.Lock()
		maps.Copy(g.images, held)
		g.mu.Unlock()
		g.event("Normal", "SuccessfulHitImageCache", "", "[eci.imagecache]Successfully hit image cache "+best.id+", eci will be scheduled with this image cache.")
	case g.spec.ImageSnapshotID != "": // deleted since the create
		g.event("Warning", "ImageCacheNotFound", "", "[eci.imagecache]Image cache "+g.spec.ImageSnapshotID+" is not found.")
	default:
		g.event("Warning", "ImageCacheMissed", "", "[eci.imagecache]Missed image cache.")
	}
	if made != nil {
		g.event("Normal", "ImageCacheAutoCreated", "", "[eci.imagecache]Image cache "+made.id+" is auto created")
	}
}

// buildAuto makes a cache without a temporary group: the group that missed one
// pulls the images anyway.
func (s *Server) buildAuto(c *imageCache) {
	held, status := map[string]Image{}, "Ready"
	for _, ref := range c.Images {
		image, err := s.pull(s.ctx, ref, c.Registries)
		if err != nil {
			status = "Failed"
			break
		}
		held[ref] = image
	}
	if !s.pause(s.ctx, s.opts.Delays.Cache) {
		status = "Failed"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.held = held
	c.setStatus(status)
}
