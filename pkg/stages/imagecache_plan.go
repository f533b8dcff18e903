package stages

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/images"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// cacheImagesMost is how many images ECI takes into one cache (sources.md: caches).
const cacheImagesMost = 20

// digestLimit is how long the registries may take, together, to say what image tags stand for.
const digestLimit = 15 * time.Second

// The digests of a cache's images are kept in a tag of the cache, which holds 128 characters:
// 6 for each of 20 images. So only the beginning of a digest is compared, and one change in
// 16 million goes unseen.
const (
	digestDigits  = 6
	unknownDigest = "------" // of an image whose registry did not answer this host
)

// cachePlan is what a cache is to be built of.
type cachePlan struct {
	images  []plannedImage // in the order of their full names
	given   bool           // with the command, and not by [image_cache]
	pull    images.Registries
	request eci.ImageCacheSpec // without name and client token
}

// plannedImage is one image of a cache.
type plannedImage struct {
	name   string // by which groups pull it, since ECI matches caches by that
	digest string // its first digits, or unknownDigest
	doubt  error  // why the digest is not known
}

// CacheOptions are what a caller decides about a cache.
type CacheOptions struct {
	SizeGiB       int // 0 leaves it to ECI
	RetentionDays int // 0 = for ever
}

// plan is the cache of the given images, or else of those of [image_cache], and in
// either case of the helper's, with the names and logins of prepare's requests.
func (k *ImageCaches) plan(given []string, o CacheOptions) (*cachePlan, error) {
	wanted := given
	if len(given) == 0 {
		wanted = k.Config.ImageCache.Images
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("no image to build a cache of: set images in [image_cache] of the driver's file, or name them with create")
	}
	if k.RunnerVersion == "" && strings.Contains(k.Config.Helper.Image, "{runner_version}") {
		return nil, fmt.Errorf("%s: the runner's version is not known here: say it with --runner-version (gitlab-runner --version tells it)", k.Config.Helper.Image)
	}
	p := &cachePlan{given: len(given) > 0}
	helper := k.Config.Helper.ImageFor(k.Config.Capacity.Architecture, strings.TrimPrefix(k.RunnerVersion, "v"))
	var names []string
	for _, image := range append(slices.Clone(wanted), helper) {
		if _, err := reference.ParseDockerRef(image); err != nil {
			return nil, fmt.Errorf("%q is not an image reference: %w", image, err)
		}
		if name := mirrored(k.Config, image); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > cacheImagesMost {
		return nil, fmt.Errorf("%d images with the helper's, and an image cache holds %d: build several", len(names), cacheImagesMost)
	}
	for _, name := range names {
		p.images = append(p.images, plannedImage{name: name, digest: unknownDigest})
	}
	slices.SortFunc(p.images, func(a, b plannedImage) int { return cmp.Compare(fullName(a.name), fullName(b.name)) })
	return p, k.fill(p, names, o)
}

// fill makes the request of a plan, and how its registries are asked from here.
func (k *ImageCaches) fill(p *cachePlan, names []string, o CacheOptions) error {
	cfg := k.Config
	credentials, acr, err := pullCredentials(cfg, &Job{}, names)
	if err != nil {
		return err
	}
	p.request = eci.ImageCacheSpec{
		Images: names, VSwitchIDs: cfg.VSwitchIDs, SecurityGroupID: cfg.SecurityGroupID, ResourceGroupID: cfg.Group.ResourceGroupID,
		EIPID: cfg.Network.EIPID, SizeGiB: o.SizeGiB, RetentionDays: o.RetentionDays,
		PlainHTTPRegistries: cfg.Pull.PlainHTTP, InsecureRegistries: cfg.Pull.Insecure, RegistryCredentials: credentials, ACRRegistries: acr,
		Tags: map[string]string{},
	}
	maps.Copy(p.request.Tags, cfg.Group.Tags)
	p.request.Tags[tagManagedBy] = DriverName
	if cfg.RunnerName != "" {
		p.request.Tags[tagRunner] = tagValue(cfg.RunnerName)
	}
	p.request.Tags[tagImages] = imagesOfFile
	if p.given {
		p.request.Tags[tagImages] = imagesGiven
	}
	p.pull = images.Registries{PlainHTTP: cfg.Pull.PlainHTTP, Insecure: cfg.Pull.Insecure}
	for _, c := range credentials {
		p.pull.Logins = append(p.pull.Logins, images.Login{Server: c.Server, Username: c.UserName, Password: c.Password})
	}
	return nil
}

// ask asks the registries, all at once, what the images stand for.
func (p *cachePlan) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, digestLimit)
	defer cancel()
	var all sync.WaitGroup
	for i := range p.images {
		image := &p.images[i]
		all.Go(func() {
			digest, err := images.Digest(ctx, image.name, p.pull)
			_, hex, _ := strings.Cut(digest, ":")
			if image.doubt = err; err == nil && len(hex) >= digestDigits {
				image.digest = hex[:digestDigits]
			}
		})
	}
	all.Wait()
	var digests strings.Builder
	for _, image := range p.images {
		digests.WriteString(image.digest)
	}
	p.request.Tags[tagDigests] = digests.String()
}

// differs says why a cache is not what the plan wants, "" where it is. doubt is then an
// image, if any, whose registry did not answer, so that its tag may stand for another image.
func (p *cachePlan) differs(c *eci.ImageCache) (why string, doubt *plannedImage) {
	var has, wants []string
	for _, name := range c.Images {
		has = append(has, fullName(name))
	}
	slices.Sort(has)
	for _, image := range p.images {
		wants = append(wants, fullName(image.name))
	}
	if !slices.Equal(has, wants) {
		return "its images are not those of the driver's file", nil
	}
	digests := c.Tags[tagDigests]
	if len(digests) != digestDigits*len(p.images) {
		return "nothing says what its images' tags stood for", nil
	}
	for i := range p.images {
		image, old := &p.images[i], digests[i*digestDigits:(i+1)*digestDigits]
		switch {
		case image.digest == unknownDigest:
			doubt = image
		case old == unknownDigest:
			return "nothing says what " + image.name + " stood for", nil
		case old != image.digest:
			return image.name + " stands for another image", nil
		}
	}
	return "", doubt
}

// fullName is an image's name with its registry and tag, whatever the short form it was
// given in, so that names can be compared.
func fullName(image string) string {
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return ref.String()
}
