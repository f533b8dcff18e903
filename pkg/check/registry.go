package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// registry is one that groups pull from, as ECI is told of it.
type registry struct {
	host     string // host[:port], as in an image's name
	plain    bool   // over HTTP
	insecure bool   // its certificate is not checked
	acr      bool   // ECI has the credentials itself
	user     string
	password string
	images   []image // to look for
}

// image is a repository and a tag or digest.
type image struct{ name, repository, tag string }

// registries are those of the request that a job would send.
func (w *world) registries() ([]*registry, error) {
	spec, err := w.spec()
	if err != nil {
		return nil, err
	}
	var all []*registry
	at := func(host string) *registry {
		for _, r := range all {
			if r.host == host {
				return r
			}
		}
		all = append(all, &registry{host: host, plain: slices.Contains(spec.PlainHTTPRegistries, host), insecure: slices.Contains(spec.InsecureRegistries, host)})
		return all[len(all)-1]
	}
	for _, c := range spec.Containers {
		ref, err := reference.ParseDockerRef(c.Image)
		if err != nil {
			return nil, fmt.Errorf("image %q of %s is not an image reference: %w", c.Image, c.Name, err)
		}
		r := at(reference.Domain(ref))
		if c.Name == "helper" && w.runnerVersion == "" && strings.Contains(w.cfg.Helper.Image, "{runner_version}") {
			continue // nobody knows the tag
		}
		r.images = append(r.images, image{c.Image, reference.Path(ref), tagOf(ref)})
	}
	for _, c := range spec.RegistryCredentials {
		r := at(c.Server)
		r.user, r.password = c.UserName, c.Password
	}
	for _, a := range spec.ACRRegistries {
		for _, domain := range a.Domains {
			at(domain).acr = true
		}
	}
	for _, host := range slices.Concat(spec.PlainHTTPRegistries, spec.InsecureRegistries) {
		at(host)
	}
	return all, nil
}

func (w *world) spec() (eci.GroupSpec, error) { return w.job.Request(w.trial, w.Clock.Now()) }

func tagOf(ref reference.Named) string {
	if digested, ok := ref.(reference.Digested); ok {
		return digested.Digest().String()
	}
	if tagged, ok := ref.(reference.Tagged); ok {
		return tagged.Tag()
	}
	return "latest"
}

// address of a path of the registry's API.
func (r *registry) address(path string) string {
	scheme, host := "https", r.host
	if r.plain {
		scheme = "http"
	}
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	return scheme + "://" + host + path
}

// local tells whether all images have the names of those that sim has without a
// registry (cmd/eci-executor).
func (r *registry) local() bool {
	return len(r.images) > 0 && !slices.ContainsFunc(r.images, func(i image) bool { return !strings.HasPrefix(i.repository, "local/") })
}

// look asks for the API, logs in where that is asked for, and looks for the images.
func (r *registry) look(ctx context.Context, t http.RoundTripper) Line {
	t = r.over(t)
	status, challenge, err := r.ask(ctx, t, "/v2/", "")
	switch {
	case err != nil:
		return warning("See that the vSwitches have a way to it: groups pull from their own network, which this host can't look at.", "can't be reached from this host: %v", err)
	case status == http.StatusOK:
		return r.found(ctx, t, "", "answers without a login")
	case status != http.StatusUnauthorized:
		return failed("See that server is host[:port] of a registry.", "answers HTTP %d, as no registry does", status)
	case r.acr:
		return ok("answers; ECI logs in by itself")
	}
	login, line := r.login(ctx, t, challenge, "")
	if line != nil {
		return *line
	}
	if status, _, err = r.ask(ctx, t, "/v2/", login); err != nil || status != http.StatusOK && r.user != "" {
		return r.refused(status, err)
	}
	text := "answers; no credentials, so only what is public can be pulled"
	if r.user != "" {
		text = fmt.Sprintf("the credentials of %s are accepted", r.user)
	}
	return r.found(ctx, t, challenge, text)
}

func (r *registry) refused(status int, err error) Line {
	if err != nil {
		return warning("Try again.", "the login got no answer: %v", err)
	}
	return failed("Correct username and password in [[registry]].", "the credentials of %s are refused (HTTP %d)", r.user, status)
}

// over is how the registry is spoken to: an unchecked certificate is taken where the
// driver's file says so.
func (r *registry) over(t http.RoundTripper) http.RoundTripper {
	ours, isOurs := t.(*http.Transport)
	if !r.insecure || !isOurs {
		return t
	}
	loose := ours.Clone()
	loose.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // [pull] insecure asks for it
	return loose
}

// ask gets a path; authorization may be empty. It returns the challenge of a 401.
func (r *registry) ask(ctx context.Context, t http.RoundTripper, path, authorization string) (status int, challenge string, err error) {
	header := http.Header{"Accept": {
		"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	response, err := get(ctx, t, r.address(path), header)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), nil
}

func (r *registry) basic() string {
	if r.user == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(r.user+":"+r.password))
}

var challengePart = pattern.Lazy(`([a-z]+)="([^"]*)"`)

// login answers a challenge: a header to authorize with, or a line that says why not.
// repository is what is to be pulled, "" for nothing.
func (r *registry) login(ctx context.Context, t http.RoundTripper, challenge, repository string) (string, *Line) {
	scheme, rest, _ := strings.Cut(challenge, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return r.basic(), nil
	}
	parts := map[string]string{}
	for _, m := range challengePart().FindAllStringSubmatch(rest, -1) {
		parts[m[1]] = m[2]
	}
	realm, err := url.Parse(parts["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && !r.plain {
		line := failed("See that server is host[:port] of a registry.", "asks for a token of no usable place")
		return "", &line
	}
	query := realm.Query()
	query.Set("service", parts["service"])
	if repository != "" {
		query.Set("scope", "repository:"+repository+":pull")
	}
	realm.RawQuery = query.Encode()
	header := http.Header{}
	if r.user != "" {
		header.Set("Authorization", r.basic())
	}
	response, err := get(ctx, t, realm.String(), header)
	if err != nil {
		line := warning("Try again.", "its token service %s can't be reached from this host: %v", realm.Host, err)
		return "", &line
	}
	defer response.Body.Close()
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if response.StatusCode != http.StatusOK {
		line := r.refused(response.StatusCode, nil)
		if r.user == "" {
			line = failed("Add a [[registry]] with credentials.", "asks for a login (HTTP %d), and there are no credentials", response.StatusCode)
		}
		return "", &line
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil {
		line := warning("Try again.", "its token service %s answers with no token", realm.Host)
		return "", &line
	}
	return "Bearer " + cmp.Or(answer.Token, answer.AccessToken), nil
}

// found looks for the images that are pulled from the registry.
func (r *registry) found(ctx context.Context, t http.RoundTripper, challenge, text string) Line {
	for _, i := range r.images {
		login, line := r.login(ctx, t, challenge, i.repository)
		if line != nil {
			return *line
		}
		status, _, err := r.ask(ctx, t, "/v2/"+i.repository+"/manifests/"+i.tag, login)
		switch {
		case err != nil:
			return warning("Try again.", "%s; %s got no answer: %v", text, i.name, err)
		case status == http.StatusNotFound:
			return failed("Correct [build] image or [helper] image.", "%s; it has no %s", text, i.name)
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return failed("Add a [[registry]] whose user may pull it.", "%s; %s may not be pulled (HTTP %d)", text, i.name, status)
		case status != http.StatusOK:
			return warning("Try again.", "%s; %s: HTTP %d", text, i.name, status)
		}
		text += ", has " + i.name
	}
	return ok("%s", text)
}
