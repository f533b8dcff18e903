package stages

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// checkAllowed refuses images that the operator does not allow. As in the
// Kubernetes executor the operator's own default image needs no permission.
func checkAllowed(cfg *config.Config, job *Job) error {
	image := buildImage(cfg, job)
	switch {
	case image == "":
		return buildErrorf("the job names no image, and the runner has no default one: add `image:` to the job")
	case image != cfg.Build.Image && !allowed(cfg.Allow.Images, image):
		return buildErrorf("image %q is not allowed on this runner; allowed are %s", image, strings.Join(cfg.Allow.Images, ", "))
	case len(job.Services) > cfg.Allow.MaxServices:
		return buildErrorf("the job has %d services, this runner allows %d", len(job.Services), cfg.Allow.MaxServices)
	}
	for _, s := range job.Services {
		if !allowed(cfg.Allow.Services, s.Name) {
			return buildErrorf("service %q is not allowed on this runner; allowed are %s", s.Name, strings.Join(cfg.Allow.Services, ", "))
		}
	}
	for _, name := range append([]string{image}, serviceImages(job)...) {
		if _, err := reference.ParseDockerRef(name); err != nil {
			return buildErrorf("image %q is not an image reference: %v", name, err)
		}
	}
	return nil
}

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

// pullPolicy is the first of the job's policies, or else the runner's, that the
// operator allows.
func pullPolicy(cfg *config.Config, image string, wanted []string) (string, error) {
	policies := wanted
	if len(policies) == 0 {
		policies = cfg.Pull.Policy
	}
	if len(policies) == 0 {
		return defaultPullPolicy(image), nil
	}
	for _, p := range policies {
		if slices.Contains(cfg.Pull.AllowedPolicies, p) {
			return map[string]string{"always": "Always", "if-not-present": "IfNotPresent", "never": "Never"}[p], nil
		}
	}
	return "", buildErrorf("pull_policy %s of image %q is not allowed on this runner; allowed are %s",
		strings.Join(policies, ", "), image, strings.Join(cfg.Pull.AllowedPolicies, ", "))
}

// defaultPullPolicy is Kubernetes' own: a tag that moves is always asked for.
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

// pullCredentials are the registry logins in the runner's own order: the job's
// DOCKER_AUTH_CONFIG, what GitLab gave the job, the operator's. The first for a
// server wins.
func pullCredentials(cfg *config.Config, job *Job) ([]eci.RegistryCredential, []eci.ACRRegistry, error) {
	logins, err := dockerAuthConfig(job.Variable("DOCKER_AUTH_CONFIG"))
	if err != nil {
		return nil, nil, err
	}
	logins = append(logins, job.Credentials...)
	var acr []eci.ACRRegistry
	for _, r := range cfg.Registries {
		if r.ACRInstanceID != "" {
			acr = append(acr, eci.ACRRegistry{InstanceID: r.ACRInstanceID, RegionID: cfg.Region, Domains: []string{registryServer(r.Server)}})
			continue
		}
		logins = append(logins, Credential{r.Server, r.Username, string(r.Password)})
	}
	var credentials []eci.RegistryCredential
	for _, l := range logins {
		server := registryServer(l.Server)
		known := slices.ContainsFunc(credentials, func(c eci.RegistryCredential) bool { return c.Server == server })
		if server != "" && !known {
			credentials = append(credentials, eci.RegistryCredential{Server: server, UserName: l.Username, Password: l.Password})
		}
	}
	return credentials, acr, nil
}

// registryServer is a server as ECI wants it: without scheme and API path.
func registryServer(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	s = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(s, "/"), "/v1"), "/v2")
	if s == "index.docker.io" {
		return "docker.io"
	}
	return s
}

func dockerAuthConfig(text string) ([]Credential, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var file struct {
		Auths map[string]struct{ Auth, Username, Password string }
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		// The text is a secret: only the kind of the mistake is told.
		return nil, buildErrorf("the variable DOCKER_AUTH_CONFIG is not the JSON of a docker config.json with \"auths\"")
	}
	var logins []Credential
	for _, server := range sortedKeys(file.Auths) {
		a := file.Auths[server]
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok {
				return nil, buildErrorf("the variable DOCKER_AUTH_CONFIG has an \"auth\" for %s that is not base64 of user:password", server)
			}
			a.Username, a.Password = user, password
		}
		logins = append(logins, Credential{server, a.Username, a.Password})
	}
	return logins, nil
}
