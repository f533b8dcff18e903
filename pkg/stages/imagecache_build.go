package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// How often a build is looked at: it takes minutes, and a small one a few seconds.
const (
	firstCachePause = 250 * time.Millisecond
	lastCachePause  = 5 * time.Second
)

// unlistedLimit is how long a cache that was just made may be missing in the list.
const unlistedLimit = 30 * time.Second

// defaultCacheGiB is the size that ECI gives a cache for which none is asked (sources.md: caches).
const defaultCacheGiB = 20

// Create builds a cache of the given images, or else of those of [image_cache], and
// waits until it is Ready.
func (k *ImageCaches) Create(ctx context.Context, given []string, o CacheOptions) error {
	p, err := k.plan(given, o)
	if err != nil {
		return err
	}
	if !p.given { // only refresh looks at digests, and it leaves caches of given images alone
		p.ask(ctx)
	}
	_, err = k.build(ctx, p)
	return err
}

// build says what a cache costs, makes it, waits for it, and returns its id.
func (k *ImageCaches) build(ctx context.Context, p *cachePlan) (string, error) {
	spec := p.request
	spec.ClientToken = randomHex(16)
	spec.Name = "ci-cache-" + label(cmp.Or(k.Config.RunnerName, "any")) + k.Clock.Now().UTC().Format("-20060102-150405")
	k.announce(ctx, &spec)
	for _, image := range p.images {
		if image.doubt != nil {
			k.say("  What %s stands for is not known here, so refresh can't tell whether that has changed: %v", image.name, image.doubt)
		}
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("interrupted before anything was asked for: %w", context.Cause(ctx))
	}
	var id string
	err := eci.Persist(ctx, k.Config.Timeouts.Ready, func() (err error) {
		id, _, err = k.API.CreateImageCache(ctx, spec)
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return "", fmt.Errorf("interrupted while image cache %s was asked for, which may be built all the same: eci-executor image-cache list shows it: %w", spec.Name, err)
	case err != nil:
		return "", cacheAdvice(err)
	}
	k.say("Building image cache %s (%s)", id, spec.Name)
	return id, k.await(ctx, id)
}

// announce says what is built and what ECI bills for it (sources.md: caches).
func (k *ImageCaches) announce(ctx context.Context, spec *eci.ImageCacheSpec) {
	k.say("Image cache %s is to hold %d images:", spec.Name, len(spec.Images))
	for _, image := range spec.Images {
		k.say("  %s", image)
	}
	size := spec.SizeGiB
	if size == 0 {
		size = defaultCacheGiB
	}
	price := ""
	asked, cancel := context.WithTimeout(ctx, pricesLimit)
	defer cancel()
	if p, err := k.API.DescribeContainerGroupPrice(asked, eci.PriceQuery{CPU: 2, MemoryGiB: 4}); err == nil && p.PerSecond > 0 {
		price = fmt.Sprintf(" (%.4f %s an hour)", p.PerSecond*3600, p.Currency)
	}
	kept := "until it is deleted"
	if spec.RetentionDays > 0 {
		kept = fmt.Sprintf("for %d days", spec.RetentionDays)
	}
	k.say("Cost: while it is built, a temporary container group of 2 vCPU and 4 GiB%s and an ESSD PL1 disk of %d GiB; then its snapshot, %s; and in each group that starts from it a disk of %d GiB.",
		price, size, kept, size)
	if k.Config.Network.AutoEIP && spec.EIPID == "" {
		k.say("Note: auto_eip in [network] is not for image caches. Public images need a NAT gateway at the vSwitch, or eip_id.")
	}
	if k.Config.Capacity.Architecture == "arm64" {
		k.say("Note: ECI documents no architecture for image caches. See whether jobs on arm64 start from this one.")
	}
}

// await waits until a cache is Ready, tells the progress, and says how to use it.
func (k *ImageCaches) await(ctx context.Context, id string) error {
	progress := &buildProgress{ImageCaches: k}
	defer progress.end()
	begun, pause, seen := k.Clock.Now(), firstCachePause, false
	for {
		listing, err := k.listing(ctx, id)
		took := age(k.Clock.Now(), begun)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted: %w: %s", context.Cause(ctx), goesOn(id))
		case err != nil:
			return fmt.Errorf("%w\n%s", err, goesOn(id))
		case len(listing.Caches) == 0 && (seen || took > unlistedLimit):
			return fmt.Errorf("image cache %s is gone: somebody has deleted it", id)
		case len(listing.Caches) == 0:
		case listing.Caches[0].Status == "Ready":
			progress.end()
			k.ready(&listing.Caches[0], took)
			return nil
		case strings.HasSuffix(listing.Caches[0].Status, "Failed"):
			return k.buildFailure(&listing.Caches[0])
		default:
			seen = true
			progress.tell(&listing.Caches[0], took)
		}
		select {
		case <-ctx.Done():
		case <-k.Clock.After(pause):
		}
		pause = min(2*pause, lastCachePause)
	}
}

// goesOn says what becomes of a build that nobody waits for.
func goesOn(id string) string {
	return fmt.Sprintf("image cache %s goes on being built in the cloud, which is billed, and jobs use it when it is Ready. Look at it: eci-executor image-cache list. End it: eci-executor image-cache delete %s", id, id)
}

func (k *ImageCaches) ready(c *eci.ImageCache, took time.Duration) {
	k.say("Image cache %s is Ready after %s: %d images, %g GiB", c.ID, took, len(c.Images), c.SizeGiB)
	use := k.Config.ImageCache
	switch {
	case use.SnapshotID == c.ID:
		k.say("Jobs start from it: snapshot_id in [image_cache] names it.")
	case use.SnapshotID != "":
		k.say("To use it, set snapshot_id = %q in [image_cache], which names %s; or \"\" with auto_match = true.", c.ID, use.SnapshotID)
	case use.AutoMatch:
		k.say("Jobs with these images start from it by themselves (auto_match in [image_cache] is true); snapshot_id = %q would make all jobs do so.", c.ID)
	default:
		k.say("To use it, set auto_match = true in [image_cache], or snapshot_id = %q.", c.ID)
	}
}

// buildFailure says why a cache could not be built, a failed pull in the same words as a
// job's.
func (k *ImageCaches) buildFailure(c *eci.ImageCache) error {
	e := &startError{what: fmt.Sprintf("image cache %s (%s) is %s", c.ID, clean(c.Name), c.Status),
		next: "look into what ECI says, and at the build's events in the ECI console."}
	for _, event := range c.Events {
		if event.Type == "Warning" {
			e.event = eci.OneLine(event.Message)
		}
	}
	for _, image := range c.Images {
		if !names(e.event, image) {
			continue
		}
		problem, _ := problemOf(e.event, image)
		_, login := loginOf(k.Config, &Job{}, image, operator)
		fill := strings.NewReplacer("{registry}", registryOf(image), "{image}", "its name in [image_cache] images, [helper] image or the command",
			"{platform}", "linux/"+k.Config.Capacity.Architecture, "{login}", login)
		e.what += fmt.Sprintf(": the image %s can't be pulled: %s", image, fill.Replace(problem.is))
		e.next = fill.Replace(problem.next)
		break
	}
	e.next += " ECI keeps a failed cache for a day; eci-executor image-cache delete " + c.ID + " deletes it at once."
	return e
}

// cacheAdvice is withAdvice for image caches, which have a quota of their own.
func cacheAdvice(err error) error {
	if e := new(eci.Error); errors.As(err, &e) && e.Code == "QuotaExceeded" {
		return &advised{err, "The region's quota of image caches is used up: delete what no job needs (eci-executor image-cache list, delete), or raise it in the Quota Center of the Alibaba Cloud console."}
	}
	return withAdvice(err)
}

// buildProgress tells how a build gets on: to a person at a terminal by Wait, else by a line
// for each thing that is new.
type buildProgress struct {
	*ImageCaches
	last string
}

func (p *buildProgress) tell(c *eci.ImageCache, took time.Duration) {
	text, said := strings.TrimSpace(c.Status+" "+c.Progress), ""
	if n := len(c.Events); n > 0 {
		said = ": " + eci.OneLine(c.Events[n-1].Message)
	}
	switch {
	case p.Wait != nil:
		p.Wait(clean(text + said))
	case p.last != text+said:
		p.last = text + said
		p.say("  %s", clean(fmt.Sprintf("%s, %s%s", text, took, said)))
	}
}

func (p *buildProgress) end() {
	if p.Wait != nil {
		p.Wait("")
	}
}
