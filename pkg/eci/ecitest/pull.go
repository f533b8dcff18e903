package ecitest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/internal/images"
)

// imagesDir, in Options.Dir, holds the images that were unpacked.
const imagesDir = "images"

// Layout is an OCI layout on disk, whose images are pulled from there.
type Layout struct {
	Dir  string
	Name string // of its only image; "" = its images have the references that its index.json gives them
}

// sources is where images come from.
type sources struct {
	store   *images.Store // nil while nothing is to be unpacked
	layouts images.Layouts
}

func newSources(opts Options, dir string) (sources, error) {
	s := sources{layouts: images.Layouts{}}
	if len(opts.Layouts) == 0 && !opts.Pull {
		return s, nil
	}
	for _, l := range opts.Layouts {
		if err := s.layouts.Add(l.Dir, l.Name); err != nil {
			return s, err
		}
	}
	var err error
	s.store, err = images.NewStore(dir)
	return s, err
}

// pull gets an image: from Options, an OCI layout or its registry.
func (s *Server) pull(ctx context.Context, ref string, from images.Registries) (Image, error) {
	if image, ok := s.opts.Images[ref]; ok {
		return image, nil
	}
	var got *images.Image
	var err error
	switch img := s.sources.layouts.Find(ref); {
	case img != nil:
		got, err = s.sources.store.Add(ctx, img)
	case s.opts.Pull:
		got, err = s.sources.store.Pull(ctx, ref, from)
	default:
		err = fmt.Errorf("failed to resolve reference %q: %w", ref, images.ErrNotFound)
	}
	if err != nil {
		return Image{}, err
	}
	return Image{
		Layers: []string{got.Root}, Env: got.Env, User: got.User, WorkingDir: got.WorkingDir,
		Entrypoint: got.Entrypoint, Cmd: got.Cmd, StopSignal: got.StopSignal, id: got.ID,
	}, nil
}

// pull gets the container's image by its pull policy, and tries again and again where that
// fails, as the kubelet does; false when the group ends first.
func (c *container) pull() (Image, bool) {
	g := c.g
	for {
		image, err := c.tryPull()
		if err == nil {
			return image, true
		}
		if g.ctx.Err() != nil {
			return Image{}, false
		}
		c.pullFailed(err)
		c.attempted()
		if !g.s.pause(g.ctx, min(100*time.Millisecond, g.s.opts.Delays.Restart)) {
			return Image{}, false
		}
		if !errors.Is(err, errNeverPulled) && !errors.Is(err, images.ErrName) {
			g.event("Normal", "BackOff", c.spec.Name, fmt.Sprintf("Back-off pulling image %q", c.spec.Image))
			c.set(containerState{State: "Waiting", Reason: "ImagePullBackOff", Message: fmt.Sprintf("Back-off pulling image %q", c.spec.Image)})
		}
		if !c.wait() {
			return Image{}, false
		}
	}
}

// errNeverPulled is an image that is not there, with the policy Never.
var errNeverPulled = errors.New("not present with pull policy of Never")

// tryPull follows the pull policy: what an image cache brought, or another
// container of the group has pulled, is there already.
func (c *container) tryPull() (Image, error) {
	g, ref := c.g, c.spec.Image
	g.mu.Lock()
	image, present := g.images[ref]
	g.mu.Unlock()
	switch {
	case present && c.spec.PullPolicy != "Always":
		g.event("Normal", "Pulled", c.spec.Name, fmt.Sprintf("Container image %q already present on machine", ref))
		return image, nil
	case c.spec.PullPolicy == "Never":
		return Image{}, fmt.Errorf("container image %q is %w", ref, errNeverPulled)
	}
	g.event("Normal", "Pulling", c.spec.Name, fmt.Sprintf("Pulling image %q", ref))
	begun := time.Now()
	takes, set := g.fault.PullTime[ref]
	if !set {
		takes = g.s.opts.Delays.Pull
	}
	if !present && !g.s.pause(g.ctx, takes) {
		return Image{}, g.ctx.Err()
	}
	if !present && !g.await(g.fault.PullUntil[ref]) {
		return Image{}, g.ctx.Err()
	}
	if why, fails := g.fault.pullFailure(ref); fails {
		return Image{}, errors.New(why)
	}
	image, err := g.s.pull(g.ctx, ref, g.spec.Registries)
	if err != nil {
		code := "Unknown"
		if errors.Is(err, images.ErrNotFound) {
			code = "NotFound"
		}
		return Image{}, fmt.Errorf("rpc error: code = %s desc = %w", code, err)
	}
	g.mu.Lock()
	g.images[ref] = image
	g.mu.Unlock()
	g.event("Normal", "Pulled", c.spec.Name, fmt.Sprintf("Successfully pulled image %q in %s", ref, time.Since(begun).Round(time.Millisecond)))
	return image, nil
}

// pullFailed tells a failed pull in the kubelet's words.
func (c *container) pullFailed(err error) {
	reason, message := "ErrImagePull", fmt.Sprintf("Failed to pull image %q: %s", c.spec.Image, err)
	switch {
	case errors.Is(err, errNeverPulled):
		reason, message = "ErrImageNeverPull", fmt.Sprintf("Container image %q is %s", c.spec.Image, errNeverPulled)
		c.g.event("Warning", reason, c.spec.Name, message)
	case errors.Is(err, images.ErrName):
		reason = "InvalidImageName"
		message = fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %s", c.spec.Image, c.spec.Image, images.ErrName)
		c.g.event("Warning", reason, c.spec.Name, message)
	default:
		c.g.event("Warning", "Failed", c.spec.Name, message)
	}
	c.g.event("Warning", "Failed", c.spec.Name, "Error: "+reason)
	c.set(containerState{State: "Waiting", Reason: reason, Message: message})
}
