package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Login is a registry's host[:port] with the credentials for it.
type Login struct{ Server, Username, Password string }

// Registries says how registries are spoken to.
type Registries struct {
	Logins    []Login  // the first for a host counts; any other host is asked without
	PlainHTTP []string // host[:port] of those without TLS
	Insecure  []string // host[:port] of those whose certificate is not checked
}

var (
	// ErrName is wrapped by the errors of references that are none.
	ErrName = errors.New("invalid reference format")
	// ErrNotFound is wrapped where the registry has no such image.
	ErrNotFound = errors.New("not found")

	// errPlatform is containerd's word for an image that is for other machines.
	errPlatform = fmt.Errorf("no match for platform in manifest: %w", ErrNotFound)
)

// Pull gets an image from its registry and unpacks it unless it is there. The
// registry is asked in any case what the reference stands for. Nothing is tried
// twice: that is for the caller, as under the kubelet.
func (s *Store) Pull(ctx context.Context, ref string, from Registries) (*Image, error) {
	full, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("failed to parse reference %q: %w", ref, ErrName)
	}
	wire := from.transport(full.Context().RegistryStr())
	defer wire.CloseIdleConnections()
	login := from.login(full.Context().RegistryStr())
	img, err := resolve(ctx, full, wire, login)
	if err != nil {
		return nil, fmt.Errorf("failed to pull and unpack image %q: failed to resolve reference %q: %w", full, full, err)
	}
	image, err := s.Add(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("failed to pull and unpack image %q: %w", full, err)
	}
	return image, nil
}

// resolve asks the registry for the manifest.
func resolve(ctx context.Context, ref name.Reference, wire http.RoundTripper, login *Login) (v1.Image, error) {
	img, err := remote.Image(ref, options(ctx, wire, login)...)
	if err != nil {
		return nil, explain(ref, login != nil, err)
	}
	return img, nil
}

// Digest asks a registry which manifest a reference stands for, sha256:..., by one
// HEAD: for a tag of several platforms that of its index. A reference by digest is
// not asked for. The errors are those of a pull.
func Digest(ctx context.Context, ref string, from Registries) (string, error) {
	full, err := name.ParseReference(ref)
	if err != nil {
		return "", fmt.Errorf("failed to parse reference %q: %w", ref, ErrName)
	}
	if d, ok := full.(name.Digest); ok {
		return d.DigestStr(), nil
	}
	host := full.Context().RegistryStr()
	wire, login := from.transport(host), from.login(host)
	defer wire.CloseIdleConnections()
	descriptor, err := remote.Head(full, options(ctx, wire, login)...)
	if err != nil {
		return "", explain(full, login != nil, err)
	}
	return descriptor.Digest.String(), nil
}

func options(ctx context.Context, wire http.RoundTripper, login *Login) []remote.Option {
	o := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(wire), remote.WithPlatform(platform()), remote.WithUserAgent("eci-executor"),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(), // Steps 1 is a single try
	}
	if login != nil {
		o = append(o, remote.WithAuth(&authn.Basic{Username: login.Username, Password: login.Password}))
	}
	return o
}

// explain says a registry's refusal in containerd's words. What a registry writes
// in its answers is left out, as it may repeat what it was sent.
func explain(ref name.Reference, login bool, err error) error {
	var refusal *transport.Error
	switch {
	case strings.Contains(err.Error(), "no child with platform"):
		return errPlatform
	case !errors.As(err, &refusal):
		return fmt.Errorf("failed to do request: %w", err)
	}
	status := fmt.Sprintf("%d %s", refusal.StatusCode, http.StatusText(refusal.StatusCode))
	switch refusal.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w", ref, ErrNotFound)
	case http.StatusUnauthorized:
		if login {
			return fmt.Errorf("failed to authorize: %s refused the login: unexpected status: %s", ref.Context().RegistryStr(), status)
		}
		fallthrough
	case http.StatusForbidden:
		return fmt.Errorf("pull access denied, repository does not exist or may require authorization: authorization failed: unexpected status: %s", status)
	}
	return fmt.Errorf("unexpected status from %s: %s", ref.Context().RegistryStr(), status)
}

// login is the one for a host, nil where there is none.
func (r Registries) login(host string) *Login {
	i := slices.IndexFunc(r.Logins, func(l Login) bool { return same(l.Server, host) })
	if i < 0 {
		return nil
	}
	return &r.Logins[i]
}

// wire is the way to one registry.
type wire struct {
	*http.Transport
	plain []string
}

func (r Registries) transport(host string) *wire {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if slices.Contains(r.Insecure, host) {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // InsecureRegistry asks for it
	}
	return &wire{t, r.PlainHTTP}
}

// RoundTrip refuses plain HTTP where it is not allowed: the registry library
// would try it with any host on a loopback or private address.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !slices.Contains(w.plain, r.URL.Host) {
		return nil, errors.New("http: server gave HTTP response to HTTPS client")
	}
	return w.Transport.RoundTrip(r)
}
