package testimage

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const goarch = runtime.GOARCH

// Registry is a registry in this process that remembers who asked for what.
type Registry struct {
	Host string // host:port

	login  *authn.Basic
	client *http.Client

	mu   sync.Mutex
	seen []Request
}

// Request is one that arrived.
type Request struct{ Method, Path, Username, Password string }

// NewRegistry serves a registry over plain HTTP, or with a certificate of its own,
// until the test ends. With a user name it asks everybody to log in.
func NewRegistry(t testing.TB, withTLS bool, username, password string) *Registry {
	t.Helper()
	r := &Registry{}
	if username != "" {
		r.login = &authn.Basic{Username: username, Password: password}
	}
	handler := r.guard(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are meant to fail
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	r.Host, r.client = server.Listener.Addr().String(), server.Client()
	return r
}

func (r *Registry) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		username, password, _ := req.BasicAuth()
		r.mu.Lock()
		r.seen = append(r.seen, Request{req.Method, req.URL.Path, username, password})
		r.mu.Unlock()
		if r.login != nil && (username != r.login.Username || password != r.login.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, "you sent "+password, http.StatusUnauthorized) // as an unkind one may
			return
		}
		next.ServeHTTP(w, req)
	})
}

// Requests are those so far.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// Blobs counts the requests for layers and configurations.
func (r *Registry) Blobs() int {
	n := 0
	for _, req := range r.Requests() {
		if req.Method == http.MethodGet && strings.Contains(req.Path, "/blobs/") {
			n++
		}
	}
	return n
}

// Push puts an image there, as repository[:tag], and gives its reference. What it
// asks is not remembered.
func (r *Registry) Push(t testing.TB, repository string, image v1.Image) string {
	t.Helper()
	ref := r.Reference(t, repository)
	options := []remote.Option{remote.WithTransport(r.client.Transport)}
	if r.login != nil {
		options = append(options, remote.WithAuth(r.login))
	}
	before := len(r.Requests())
	check(t, remote.Write(ref, image, options...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = r.seen[:before]
	return r.Host + "/" + repository
}

// Reference is that of repository[:tag] there.
func (r *Registry) Reference(t testing.TB, repository string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.Host+"/"+repository, name.Insecure)
	check(t, err)
	return ref
}
