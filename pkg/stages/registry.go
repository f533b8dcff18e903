package stages

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// loginSource is where logins for registries come from.
type loginSource struct {
	logins []Credential
	blame  blame  // who mends a wrong one ...
	mend   string // ... and how; {registry}
}

// loginSources are the sources of logins in the Kubernetes executor's order
// (sources.md: kubernetes-executor): of the logins for one path the first counts.
func loginSources(cfg *config.Config, job *Job) ([]loginSource, error) {
	own, err := dockerAuthConfig(job.Variable("DOCKER_AUTH_CONFIG"))
	var operators []Credential
	for _, r := range cfg.Registries {
		if r.ACRInstanceID == "" {
			operators = append(operators, Credential{r.Server, r.Username, string(r.Password)})
		}
	}
	return []loginSource{
		{own, author, "correct the login for {registry} in the variable DOCKER_AUTH_CONFIG"},
		{operators, operator, "correct the [[registry]] for {registry} in the driver's file"},
		{job.Credentials, author, "see to it that the job may read from {registry} with its job token"},
	}, err
}

// loginFor is the login for an image: the one with the longest path, and of two with the same
// path the one of the earlier source. source is nil where there is none.
func loginFor(sources []loginSource, image string) (login Credential, source *loginSource) {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return Credential{}, nil
	}
	for i := range sources {
		for _, l := range sources[i].logins {
			if covers(l.Server, ref) && (source == nil || len(registryServer(l.Server)) > len(registryServer(login.Server))) {
				login, source = l, &sources[i]
			}
		}
	}
	return login, source
}

// covers tells whether a login for server, which may have a path, is one for an image.
func covers(server string, image reference.Named) bool {
	server = registryServer(server)
	domain := strings.ToLower(reference.Domain(image))
	return server != "" && (domain == server || strings.HasPrefix(domain+"/"+reference.Path(image)+"/", server+"/"))
}

// pullCredentials are the logins for the images of a group, one for each registry, because
// ECI takes them by host and not by path; and the ACR instances of the operator's account,
// which need no login.
func pullCredentials(cfg *config.Config, job *Job, images []string) ([]eci.RegistryCredential, []eci.ACRRegistry, error) {
	sources, err := loginSources(cfg, job)
	if err != nil {
		return nil, nil, err
	}
	sent, _ := sentLogins(sources, images)
	var credentials []eci.RegistryCredential
	for _, l := range sent {
		credentials = append(credentials, eci.RegistryCredential{Server: registryOf(l.image), UserName: l.login.Username, Password: l.login.Password})
	}
	var acr []eci.ACRRegistry
	for _, r := range cfg.Registries {
		if r.ACRInstanceID != "" {
			acr = append(acr, eci.ACRRegistry{InstanceID: r.ACRInstanceID, RegionID: cfg.Region, Domains: []string{registryServer(r.Server)}})
		}
	}
	return credentials, acr, nil
}

// imageLogin is the login by which an image is pulled.
type imageLogin struct {
	image string
	login Credential
}

// sentLogins are the logins for the images of a group: of each registry that of its first
// image which has one. lines tell of the images that have another one.
func sentLogins(sources []loginSource, images []string) (sent []imageLogin, lines []string) {
	for _, image := range images {
		login, source := loginFor(sources, image)
		if source == nil {
			continue
		}
		i := slices.IndexFunc(sent, func(l imageLogin) bool { return registryOf(l.image) == registryOf(image) })
		switch {
		case i < 0:
			sent = append(sent, imageLogin{image, login})
		case sent[i].login != login:
			lines = append(lines, fmt.Sprintf("image %s is pulled by the login for image %s, as ECI takes one for a registry: it must do for both", image, sent[i].image))
		}
	}
	return sent, lines
}

// sharedLogins tells, a line each, which images of a group are pulled by the login for
// another one of their registry, though they have one of their own.
func sharedLogins(cfg *config.Config, job *Job, images []string) []string {
	sources, _ := loginSources(cfg, job) // its mistakes were told before
	_, lines := sentLogins(sources, images)
	return lines
}

// registryServer is a server as ECI wants it: without scheme and API path. As for docker
// and the runner, one with a scheme has no path (auth.go of the runner).
func registryServer(s string) string {
	s = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(s, "/"), "/v1"), "/v2")
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s, _, _ = strings.Cut(rest, "/")
	}
	host, path, hasPath := strings.Cut(s, "/")
	if host = strings.ToLower(host); host == "index.docker.io" {
		host = "docker.io"
	}
	if hasPath {
		return host + "/" + path
	}
	return host
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
		// Where a helper of docker's keeps the login, or it is a token, this is none for ECI.
		if a.Username != "" && a.Password != "" {
			logins = append(logins, Credential{server, a.Username, a.Password})
		}
	}
	return logins, nil
}
