package ecitest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/eci-executor/eci-executor/internal/images"
)

// The image cache actions. What a cache does for groups stands in
// imagecache_build.go and imagecache_match.go.

const (
	cacheParams = ` SecurityGroupId VSwitchId EipInstanceId ResourceGroupId ClientToken ImageCacheSize RetentionDays
		AutoMatchImageCache ImageRegistryCredential.N.Server ImageRegistryCredential.N.UserName
		ImageRegistryCredential.N.Password Image.N Tag.N.Key Tag.N.Value Flash AcrRegistryInfo.N.Domain.N
		AcrRegistryInfo.N.InstanceName AcrRegistryInfo.N.InstanceId AcrRegistryInfo.N.RegionId StandardCopyCount
		FlashCopyCount EliminationStrategy ImageCacheName`
	maxCacheImages = 20
	maxMatchImages = 100
	cacheSize      = 20        // GiB, the default
	cacheSizeMost  = 32 * 1024 // not documented: the greatest disk
	cacheLimit     = 20        // default Limit, from the documentation's sample
	cacheLimitMost = 100       // not documented
	failedCache    = 24 * time.Hour
)

func createImageCacheAction() action {
	return action{
		perMinute: 200, serve: (*Server).createImageCache,
		params: "ZoneId OsType Annotations PlainHttpRegistry InsecureRegistry AcrRegistryInfo.N.ArnService AcrRegistryInfo.N.ArnUser" + cacheParams,
	}
}

func describeImageCachesAction() action {
	return action{serve: (*Server).describeImageCaches, params: `ImageCacheId ImageCacheName SnapshotId Image ResourceGroupId
		Tag.N.Key Tag.N.Value MatchImage.N Limit NextToken ImageFullMatch ImageMatchCountRequest`}
}

func updateImageCacheAction() action {
	return action{serve: (*Server).updateImageCache, params: "ImageCacheId" + cacheParams}
}

func deleteImageCacheAction() action {
	return action{serve: (*Server).deleteImageCache, params: "ImageCacheId ClientToken"}
}

// imageCache is one cache; Server.mu guards it.
type imageCache struct {
	id, region string
	auto       bool // made by AutoMatchImageCache
	cacheSpec

	status   string // Preparing, Creating, Ready, Failed, Updating, UpdateFailed
	builder  *group // the last temporary group; its id outlives it
	snapshot string
	events   []event
	created  time.Time
	changed  time.Time        // of status
	matched  time.Time        // last use, zero = never
	held     map[string]Image // what the references stood for when it was built
}

// cacheSpec is what a caller decides about a cache.
type cacheSpec struct {
	Name            string
	Images          []string
	Size            int64 // GiB
	Retention       int64 // days, 0 = for ever
	Elimination     string
	ResourceGroupID string
	Tags            []tag
	Registries      images.Registries
}

// parseCache reads what create and update have in common; what is absent is as
// in old.
func (p *params) parseCache(old cacheSpec) cacheSpec {
	c := cacheSpec{
		Name: cmp.Or(p.str("ImageCacheName"), old.Name), Images: p.strings("Image"),
		Size:            p.integer("ImageCacheSize", old.Size, 1, cacheSizeMost),
		Retention:       p.integer("RetentionDays", old.Retention, 1, maxInt32),
		Elimination:     p.oneOf("EliminationStrategy", old.Elimination, "LRU"),
		ResourceGroupID: cmp.Or(p.str("ResourceGroupId"), old.ResourceGroupID), Tags: p.tags(),
	}
	if len(c.Images) == 0 {
		c.Images = old.Images
	}
	if len(c.Tags) == 0 {
		c.Tags = old.Tags
	}
	for i, image := range c.Images {
		if image == "" {
			p.refuse(missing("Image." + strconv.Itoa(i+1)))
		}
		if len(image) > maxImage {
			p.fail("InvalidParameter", "an image has more than %d characters", maxImage)
		}
	}
	if len(c.Images) > maxCacheImages {
		p.fail("InvalidParameter", "%d images, at most %d are allowed", len(c.Images), maxCacheImages)
	}
	p.commas("VSwitchId", maxVSwitches)
	p.boolean("AutoMatchImageCache", false)
	p.boolean("Flash", false)
	p.integer("StandardCopyCount", 1, 1, maxInt32)
	p.integer("FlashCopyCount", 1, 1, maxInt32)
	c.Registries = p.registries()
	if len(c.Registries.Logins) == 0 {
		c.Registries.Logins = old.Registries.Logins
	}
	if c.Registries.PlainHTTP == nil && c.Registries.Insecure == nil { // an update does not have them
		c.Registries.PlainHTTP, c.Registries.Insecure = old.Registries.PlainHTTP, old.Registries.Insecure
	}
	return c
}

// createImageCache answers at once with the cache and the temporary group that
// pulls its images.
func (s *Server) createImageCache(p *params) (map[string]any, *apiError) {
	p.required("ImageCacheName")
	if len(p.list("Image")) == 0 {
		p.required("Image.1")
	}
	spec := p.parseCache(cacheSpec{Size: cacheSize})
	if p.oneOf("OsType", "Linux", "Linux", "Windows") == "Windows" {
		p.refuse(forbidden("Forbidden.OnlyForInvitedTest", "Windows instances are open to invited users alone."))
	}
	if p.err != nil {
		return nil, p.err
	}
	s.mu.Lock()
	region := p.str("RegionId")
	if !s.cacheRoom(region, false) {
		s.mu.Unlock()
		return nil, forbidden("QuotaExceeded", "ImageCache quota exceeded.")
	}
	c := s.addCache(region, spec, false)
	g := s.addBuilder(c)
	s.mu.Unlock()
	if !s.start(func() { s.build(c, g, "Failed") }) {
		return nil, &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "the server is closing"}
	}
	return map[string]any{"ImageCacheId": c.id, "ContainerGroupId": g.id}, nil
}

// updateImageCache changes a cache, and builds it anew when its images or its
// size change.
func (s *Server) updateImageCache(p *params) (map[string]any, *apiError) {
	id := p.required("ImageCacheId")
	if p.err != nil {
		return nil, p.err
	}
	s.mu.Lock()
	c := s.cache(p.str("RegionId"), id)
	if c == nil {
		s.mu.Unlock()
		return nil, s.unknownCache(id)
	}
	rebuild, refusal := c.update(p)
	var g *group
	if rebuild {
		g = s.addBuilder(c)
	}
	s.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	if rebuild && !s.start(func() { s.build(c, g, "UpdateFailed") }) {
		return nil, &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "the server is closing"}
	}
	return map[string]any{}, nil
}

// update takes over what the caller changes. The caller holds Server.mu.
func (c *imageCache) update(p *params) (rebuild bool, refusal *apiError) {
	spec := p.parseCache(c.cacheSpec)
	if p.err != nil {
		return false, p.err
	}
	if c.status != "Ready" && c.status != "UpdateFailed" {
		return false, invalid("ImageCache.IncorrectStatus", "the image cache %s is %s", c.id, c.status)
	}
	rebuild = !slices.Equal(spec.Images, c.Images) || spec.Size != c.Size || c.status == "UpdateFailed"
	if !rebuild && spec.Name == c.Name && spec.Retention == c.Retention && spec.Elimination == c.Elimination &&
		spec.ResourceGroupID == c.ResourceGroupID && slices.Equal(spec.Tags, c.Tags) {
		return false, invalid("NoNeedUpdate", "There are no changes to be updated for current resource.")
	}
	if c.cacheSpec = spec; rebuild {
		c.setStatus("Updating")
	}
	return rebuild, nil
}

func (s *Server) deleteImageCache(p *params) (map[string]any, *apiError) {
	id := p.required("ImageCacheId")
	if p.err != nil {
		return nil, p.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cache(p.str("RegionId"), id)
	if c == nil {
		return nil, s.unknownCache(id)
	}
	s.removeCache(c)
	return map[string]any{}, nil
}

// describeImageCaches lists caches, oldest first; with MatchImage only those that
// hold one of the images, or with ImageFullMatch all of them, the best first.
func (s *Server) describeImageCaches(p *params) (map[string]any, *apiError) {
	images := p.strings("MatchImage")
	if len(images) > maxMatchImages {
		p.fail("InvalidParameter", "%d MatchImage, at most %d are allowed", len(images), maxMatchImages)
	}
	full := p.boolean("ImageFullMatch", false)
	enough := p.integer("ImageMatchCountRequest", 0, 1, maxInt32)
	limit := p.integer("Limit", cacheLimit, 1, cacheLimitMost)
	after := p.nextToken()
	tags := p.tags()
	if p.err != nil {
		return nil, p.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireCaches()
	found := []*imageCache{}
	for _, c := range s.caches {
		hits := c.hits(images)
		if c.matches(p, tags) && (len(images) == 0 || (full && hits == len(images)) || (!full && hits > 0)) {
			found = append(found, c)
		}
	}
	if len(images) > 0 {
		slices.SortStableFunc(found, func(a, b *imageCache) int { return b.hits(images) - a.hits(images) })
		if enough > 0 {
			found = found[:min(int(enough), len(found))]
		}
	}
	list, next := []any{}, ""
	for i := after; i < len(found); i++ { // NextToken counts what was listed
		if int64(len(list)) == limit {
			next = pageToken(i)
			break
		}
		list = append(list, s.describeCache(found[i]))
	}
	return map[string]any{"ImageCaches": list, "NextToken": next, "TotalCount": len(found)}, nil
}

func (c *imageCache) matches(p *params, tags []tag) bool {
	for name, value := range map[string]string{
		"RegionId": c.region, "ImageCacheId": c.id, "ImageCacheName": c.Name, "SnapshotId": c.snapshot, "ResourceGroupId": c.ResourceGroupID,
	} {
		if want := p.str(name); want != "" && want != value {
			return false
		}
	}
	image := p.str("Image")
	return hasTags(c.Tags, tags) && (image == "" || slices.Contains(c.Images, image))
}

func (s *Server) describeCache(c *imageCache) map[string]any {
	events := []any{}
	for _, e := range c.events {
		events = append(events, s.describeEvent(e))
	}
	progress := 0
	if c.status == "Ready" {
		progress = 100
	}
	builder := ""
	if c.builder != nil {
		builder = c.builder.id
	}
	return map[string]any{
		"ImageCacheId": c.id, "ImageCacheName": c.Name, "RegionId": c.region, "Status": c.status, "Images": c.Images,
		"ImageCacheSize": c.Size, "SnapshotId": c.snapshot, "ContainerGroupId": builder, "Progress": strconv.Itoa(progress) + "%",
		"CreationTime": s.stamp(c.created), "ExpireDateTime": s.stamp(c.expires()), "LastMatchedTime": s.stamp(c.matched),
		"EliminationStrategy": c.Elimination, "ResourceGroupId": c.ResourceGroupID, "Tags": tagList(c.Tags), "Events": events,
	}
}

// cache finds a cache, nil if there is none. The caller holds mu.
func (s *Server) cache(region, id string) *imageCache {
	s.expireCaches()
	for _, c := range s.caches {
		if c.region == region && c.id == id {
			return c
		}
	}
	return nil
}

func (s *Server) unknownCache(id string) *apiError {
	return unknown(s.opts.Switches.UnknownImageCacheID, "the image cache %s does not exist", id)
}
