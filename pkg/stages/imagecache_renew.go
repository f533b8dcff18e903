package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Refresh builds the cache of [image_cache] anew where its images, or what their tags stand
// for, have changed, and in any case with force. When the new one is Ready, our old ones are
// deleted. A build that an interrupted refresh has begun is waited for. Caches of images
// that were given to Create are left alone.
func (k *ImageCaches) Refresh(ctx context.Context, force bool, o CacheOptions) error {
	p, err := k.plan(nil, o)
	if err != nil {
		return err
	}
	p.ask(ctx)
	listing, err := k.listing(ctx, "")
	if err != nil {
		return err
	}
	old := slices.DeleteFunc(listing.Caches, func(c eci.ImageCache) bool { return !k.ours(&c) || c.Tags[tagImages] != imagesOfFile })
	id, err := k.current(ctx, p, old, force)
	if err == nil && id == "" {
		id, err = k.build(ctx, p)
	}
	if err != nil {
		return err
	}
	old = slices.DeleteFunc(old, func(c eci.ImageCache) bool { return c.ID == id })
	return k.retire(ctx, old, id)
}

// current is the id of a cache that is up to date, "" where there is none. A cache that is
// still being built is waited for.
func (k *ImageCaches) current(ctx context.Context, p *cachePlan, old []eci.ImageCache, force bool) (string, error) {
	if force {
		k.say("A new image cache is built, as --force asks.")
		return "", nil
	}
	for _, c := range slices.Backward(old) { // newest first
		switch c.Status {
		case "Ready", "Preparing", "Creating", "Updating":
		default:
			continue
		}
		why, doubt := p.differs(&c)
		switch {
		case why != "":
			k.say("Image cache %s is out of date: %s.", c.ID, why)
			return "", nil
		case doubt != nil:
			return "", fmt.Errorf("whether image cache %s is out of date can't be told, because this host can't ask what %s stands for: %w\nLet this host reach the registry with a login of [[registry]], or build anew with --force", c.ID, doubt.name, doubt.doubt)
		case c.Status == "Ready":
			k.say("Image cache %s is up to date.", c.ID)
			return c.ID, nil
		}
		k.say("Image cache %s is up to date, and still being built.", c.ID)
		return c.ID, k.await(ctx, c.ID)
	}
	return "", nil
}

// retire deletes the old caches in favour of the one with id. One that snapshot_id names
// stays, because jobs would fail without it.
func (k *ImageCaches) retire(ctx context.Context, old []eci.ImageCache, id string) error {
	var errs []error
	for i := range old {
		if old[i].ID == k.Config.ImageCache.SnapshotID {
			k.say("Kept %s, which snapshot_id in [image_cache] names: set it to %q, then delete the old one with eci-executor image-cache delete %s", old[i].ID, id, old[i].ID)
			continue
		}
		errs = append(errs, k.remove(ctx, &old[i]))
	}
	return errors.Join(errs...)
}

// Delete deletes caches by id, whoever made them, and ours by name, or with all all of ours.
// Where one of them can't be found, nothing is deleted.
func (k *ImageCaches) Delete(ctx context.Context, wanted []string, all bool) error {
	listing, err := k.listing(ctx, "")
	if err != nil {
		return err
	}
	var found []eci.ImageCache
	if all {
		found = slices.DeleteFunc(listing.Caches, func(c eci.ImageCache) bool { return !k.ours(&c) })
	}
	var errs []error
	for _, w := range wanted {
		c, err := k.named(listing.Caches, w)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !slices.ContainsFunc(found, func(f eci.ImageCache) bool { return f.ID == c.ID }):
			found = append(found, *c)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if len(found) == 0 {
		k.say("No image caches of ours in %s", k.Config.Region)
	}
	for i := range found {
		errs = append(errs, k.remove(ctx, &found[i]))
		if found[i].ID == k.Config.ImageCache.SnapshotID {
			k.say("Note: snapshot_id in [image_cache] still names %s. Jobs pull their images until it names another.", found[i].ID)
		}
	}
	return errors.Join(errs...)
}

// named is the cache with an id, or the one of ours with a name.
func (k *ImageCaches) named(caches []eci.ImageCache, wanted string) (*eci.ImageCache, error) {
	var ours, others []*eci.ImageCache
	for i := range caches {
		c := &caches[i]
		switch {
		case c.ID == wanted:
			return c, nil
		case c.Name != wanted:
		case k.ours(c):
			ours = append(ours, c)
		default:
			others = append(others, c)
		}
	}
	switch {
	case len(ours) == 1:
		return ours[0], nil
	case len(ours) > 1:
		return nil, fmt.Errorf("%d image caches have the name %q: say the id, which eci-executor image-cache list shows", len(ours), wanted)
	case len(others) > 0:
		return nil, fmt.Errorf("image cache %q is not ours: say its id, %s, to delete it all the same", wanted, others[0].ID)
	}
	return nil, fmt.Errorf("no image cache in %s has the id or the name %q: eci-executor image-cache list shows them", k.Config.Region, wanted)
}

// remove deletes one cache. It is no error that the cache is gone already.
func (k *ImageCaches) remove(ctx context.Context, c *eci.ImageCache) error {
	err := eci.Persist(ctx, askingLimit, func() error { return k.API.DeleteImageCache(ctx, c.ID) })
	if err != nil && eci.ClassOf(err) != eci.NotFound {
		return withAdvice(err)
	}
	k.say("Deleted image cache %s (%s)", c.ID, clean(c.Name))
	return nil
}
