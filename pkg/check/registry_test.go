package check_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// fakeRegistry is a registry with a token service, as far as check speaks to one.
type fakeRegistry struct {
	server *httptest.Server
	host   string
	images []string // repository:tag
	basic  bool     // asks for user and password, without a token service
	open   bool     // asks for nothing
}

func newRegistry(t testing.TB) *fakeRegistry {
	r := &fakeRegistry{images: []string{"ci/build:1", "ci/helper:x86_64-v19.4.0"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/", r.api)
	mux.HandleFunc("GET /token", r.token)
	r.server = httptest.NewTLSServer(mux)
	t.Cleanup(r.server.Close)
	u, err := url.Parse(r.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.host = u.Host
	return r
}

func loggedIn(q *http.Request) bool {
	user, password, _ := q.BasicAuth()
	return user == registryUser && password == pullPassword
}

func (r *fakeRegistry) api(w http.ResponseWriter, q *http.Request) {
	bearer := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.open, r.basic && loggedIn(q), !r.basic && strings.HasPrefix(bearer, registryToken):
	case r.basic:
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+r.server.URL+`/token",service="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	rest := strings.TrimPrefix(q.URL.Path, "/v2/")
	if rest == "" {
		return
	}
	repository, tag, _ := strings.Cut(rest, "/manifests/")
	switch {
	case !r.open && !r.basic && bearer != registryToken+" repository:"+repository+":pull":
		w.WriteHeader(http.StatusUnauthorized)
	case !slices.Contains(r.images, repository+":"+tag):
		w.WriteHeader(http.StatusNotFound)
	}
}

func (r *fakeRegistry) token(w http.ResponseWriter, q *http.Request) {
	if !loggedIn(q) || q.FormValue("service") != "fake" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"token": strings.TrimSpace(registryToken + " " + q.FormValue("scope"))})
}
