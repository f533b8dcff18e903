package check

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// noVersion stands for the runner's version in a dry run, which pulls nothing.
const noVersion = "0.0.0"

var (
	versionLine = pattern.Lazy(`(?m)^Version:\s*v?([0-9]+\.[0-9]+[^\s]*)`)
	versionTag  = pattern.Lazy(`v?([0-9]+\.[0-9]+)(\.[0-9]+)?$`)
)

// RunnerVersion is what the gitlab-runner on PATH tells, without v; "" where it tells none.
func RunnerVersion(ctx context.Context) string { return runnerVersion(ctx, output) }

func runnerVersion(ctx context.Context, run command) string {
	out, err := run(ctx, "gitlab-runner", "--version")
	if m := versionLine().FindStringSubmatch(string(out)); err == nil && m != nil {
		return m[1]
	}
	return ""
}

// helper holds the helper's image against the runner whose scripts it runs.
func helper(ctx context.Context, w *world) []Line {
	version := strings.TrimPrefix(w.RunnerVersion, "v")
	if version == "" {
		version = runnerVersion(ctx, w.Command)
	}
	w.runnerVersion = version
	needed := strings.Contains(w.cfg.Helper.Image, "{runner_version}")
	w.job = stages.TrialJob(cmp.Or(version, noVersion), w.Clock.Now())
	image := w.cfg.Helper.ImageFor(w.cfg.Capacity.Architecture, cmp.Or(version, noVersion))
	w.trial = trial(w.cfg, image)
	switch {
	case version == "" && needed:
		return []Line{warning("Run check where gitlab-runner is on PATH, or say --runner-version.", "%s: the runner's version is not known here, though it is in a job", w.cfg.Helper.Image)}
	case version == "":
		return []Line{ok("%s; the runner's version is not known here", image)}
	}
	return []Line{sameVersion(image, version)}
}

// trial is the driver's file for a job of check: without a default image the helper's
// does, which has a shell; and nothing is kept for a look.
func trial(cfg *config.Config, image string) *config.Config {
	c := *cfg
	c.Build.Image = cmp.Or(c.Build.Image, image)
	c.Debug.KeepOnFailure = 0
	return &c
}

// sameVersion compares major and minor of a tag with the runner's version.
func sameVersion(image, version string) Line {
	tag := image[strings.LastIndexAny(image, ":/")+1:]
	m := versionTag().FindStringSubmatch(tag)
	if m == nil || !strings.Contains(image[strings.LastIndex(image, "/")+1:], ":") {
		return ok("%s; its tag names no version to hold against the runner's %s", image, version)
	}
	if v := versionTag().FindStringSubmatch(strings.SplitN(version, "-", 2)[0]); v == nil || v[1] != m[1] {
		return warning("Set [helper] image to a tag of the runner's version; {runner_version} stands for it.",
			"%s is not of the runner's version %s: cache and artifacts may fail", image, version)
	}
	return ok("%s, runner %s", image, version)
}

// registries looks at each registry that the driver's file names or pulls from.
func registries(ctx context.Context, w *world) []Line {
	all, err := w.registries()
	if err != nil {
		return []Line{failed("Correct it in the driver's file.", "%v", err)}
	}
	return each(all, func(r *registry) Line {
		if r.host == "docker.io" && r.local() && onThisMachine(w.cfg.EndpointURL()) {
			return skipped("%s: the endpoint is a local ECI on this machine, whose own the images are", r.host).of(r.host)
		}
		line := r.look(ctx, w.Transport)
		line.Text = fmt.Sprintf("%s: %s", r.host, line.Text)
		return line.of(r.host)
	})
}
