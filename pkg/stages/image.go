package stages

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// checkAllowed refuses images that the operator does not allow, and services that
// can't work here. As in the Kubernetes executor what the operator has named needs no
// permission.
func checkAllowed(cfg *config.Config, job *Job) error {
	image := buildImage(cfg, job)
	switch {
	case image == "":
		return buildErrorf("the job names no image, and the runner has no default one: add `image:` to the job")
	case image != cfg.Build.Image && !allowed(cfg.Allow.Images, image):
		return buildErrorf("image %q is not allowed on this runner; allowed are %s", image, orNone(cfg.Allow.Images))
	case job.ownServices() > cfg.Allow.MaxServices:
		return buildErrorf("the job has %d services, this runner allows %d", job.ownServices(), cfg.Allow.MaxServices)
	case len(job.Services) > config.ServicesMost:
		return buildErrorf("the job has %d services, %d of them the runner's, and a container group has room for %d: leave some out",
			len(job.Services), len(job.Services)-job.ownServices(), config.ServicesMost)
	}
	for _, s := range job.Services {
		if !s.Operator && !allowed(cfg.Allow.Services, s.Name) {
			return buildErrorf("service %q is not allowed on this runner; allowed are %s", s.Name, orNone(cfg.Allow.Services))
		}
	}
	for _, name := range append([]string{image}, serviceImages(job)...) {
		if _, err := reference.ParseDockerRef(name); err != nil {
			return buildErrorf("image %q is not an image reference: %v", name, err)
		}
	}
	return checkServices(cfg, job)
}

// orNone is a list of patterns in words: an empty one allows nothing.
func orNone(patterns []string) string { return cmp.Or(strings.Join(patterns, ", "), "none") }

func serviceImages(job *Job) []string {
	var names []string
	for _, s := range job.Services {
		names = append(names, s.Name)
	}
	return names
}

func allowed(patterns []string, image string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := doublestar.Match(p, image)
		return err == nil && ok
	})
}

// pullPolicies are the pull policies of an image in ECI's words: the job's, or else the
// runner's, as far as the operator allows them. Each is for when a pull by the one before
// has failed.
func pullPolicies(cfg *config.Config, image string, wanted []string) ([]string, error) {
	policies := wanted
	if len(policies) == 0 {
		policies = cfg.Pull.Policy
	}
	if len(policies) == 0 {
		return []string{defaultPullPolicy(image)}, nil
	}
	allowed := cfg.Pull.AllowedPolicies
	if len(allowed) == 0 {
		allowed = cfg.Pull.Policy
	}
	var inTurn []string
	for _, p := range policies {
		if slices.Contains(allowed, p) {
			inTurn = append(inTurn, map[string]string{"always": "Always", "if-not-present": "IfNotPresent", "never": "Never"}[p])
		}
	}
	if len(inTurn) == 0 {
		return nil, buildErrorf("pull_policy %s of image %q is not allowed on this runner; allowed are %s",
			strings.Join(policies, ", "), image, strings.Join(allowed, ", "))
	}
	return inTurn, nil
}

// furtherPolicies are the pull policies that are left to try after those of the request, by
// container.
func furtherPolicies(cfg *config.Config, job *Job, spec eci.GroupSpec) map[string][]string {
	further := map[string][]string{}
	images := append([]Image{{Name: buildImage(cfg, job), PullPolicy: job.Image.PullPolicy}}, job.Services...)
	for i, image := range images {
		if policies, err := pullPolicies(cfg, image.Name, image.PullPolicy); err == nil { // groupSpec has told
			further[spec.Containers[i+1].Name] = policies[1:] // behind helper
		}
	}
	return further
}

// mirrored is the name by which an image is pulled: with its longest prefix in [pull]
// mirrors replaced by the mirror's. Which images a job may use is decided by the name that
// the job gave.
func mirrored(cfg *config.Config, image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	longest := ""
	for prefix := range cfg.Pull.Mirrors {
		if strings.HasPrefix(ref.String(), prefix) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	if longest == "" {
		return image
	}
	return cfg.Pull.Mirrors[longest] + strings.TrimPrefix(ref.String(), longest)
}

// defaultPullPolicy is Kubernetes' default: Always for the tag latest and for no tag.
func defaultPullPolicy(image string) string {
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return "Always"
	}
	if tagged, ok := ref.(reference.Tagged); ok && tagged.Tag() == "latest" {
		return "Always"
	}
	return "IfNotPresent"
}
