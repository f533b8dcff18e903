package images_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/eci-executor/eci-executor/internal/images"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/internal/testport"
)

const password = "pa55-of-the-registry"

func TestPull(t *testing.T) {
	img := layers{{file("f", "x")}}.image(t)
	foreign := testimage.Image(t, v1.Config{}, testimage.Layer(t, file("f", "x")))
	cfg, err := foreign.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture = "riscv64"
	if foreign, err = mutate.ConfigFile(foreign, cfg); err != nil {
		t.Fatal(err)
	}
	open := testimage.NewRegistry(t, false, "", "")
	closed := testimage.NewRegistry(t, false, "ci", password)
	secure := testimage.NewRegistry(t, true, "", "")
	for _, r := range []*testimage.Registry{open, closed, secure} {
		r.Push(t, "a/b:1", img)
	}
	open.Push(t, "foreign:1", foreign)
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	refuses := func(status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				http.Error(w, password, status)
			}
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	forbids, breaks := refuses(http.StatusForbidden), refuses(http.StatusBadGateway)
	nobody := testport.Closed(t)
	plain := func(logins ...images.Login) images.Registries {
		return images.Registries{Logins: logins, PlainHTTP: []string{open.Host, closed.Host, forbids, breaks, nobody}}
	}
	login := func(host, password string) images.Login {
		return images.Login{Server: host, Username: "ci", Password: password}
	}
	for _, tt := range []struct {
		name, ref string
		from      images.Registries
		want      string // of the error
	}{
		{"without a login", open.Host + "/a/b:1", plain(), ""},
		{"with the login", closed.Host + "/a/b:1", plain(login("other.example", "x"), login(closed.Host, password)), ""},
		{"with a certificate that is not checked", secure.Host + "/a/b:1", images.Registries{Insecure: []string{secure.Host}}, ""},
		{"no such tag", open.Host + "/a/b:2", plain(), open.Host + "/a/b:2: not found"},
		{"no such repository", open.Host + "/c:1", plain(), open.Host + "/c:1: not found"},
		{"no such digest", open.Host + "/a/b@sha256:" + strings.Repeat("0", 64), plain(), ": not found"},
		{"no login", closed.Host + "/a/b:1", plain(), "pull access denied, repository does not exist or may require authorization: authorization failed: unexpected status: 401 Unauthorized"},
		{"another registry's login", closed.Host + "/a/b:1", plain(login("other.example", password)), "pull access denied"},
		{"a wrong login", closed.Host + "/a/b:1", plain(login(closed.Host, "wrong-"+password)), "failed to authorize: " + closed.Host + " refused the login: unexpected status: 401 Unauthorized"},
		{"no right to it", forbids + "/a/b:1", plain(), "pull access denied, repository does not exist or may require authorization: authorization failed: unexpected status: 403 Forbidden"},
		{"a registry that is broken", breaks + "/a/b:1", plain(login(breaks, password)), "unexpected status from " + breaks + ": 502 Bad Gateway"},
		{"nobody there", nobody + "/a/b:1", plain(), "failed to do request: "},
		{"nobody there, in the kernel's words", nobody + "/a/b:1", plain(), "connect: connection refused"},
		{"plain HTTP that was not asked for", open.Host + "/a/b:1", images.Registries{}, "server gave HTTP response to HTTPS client"},
		{"a certificate that nobody knows", secure.Host + "/a/b:1", images.Registries{}, "x509: certificate signed by unknown authority"},
		{"for another machine", open.Host + "/foreign:1", plain(), "no match for platform in manifest: not found"},
		{"no reference", "A B", plain(), `failed to parse reference "A B": invalid reference format`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			got, err := s.Pull(context.Background(), tt.ref, tt.from)
			if digest, err := images.Digest(context.Background(), tt.ref, tt.from); tt.want == "" && (err != nil || digest != want.String()) {
				t.Errorf("digest %q, %v", digest, err)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the error tells the password: %v", err)
			}
			switch {
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "" && tree(t, got.Root) != "-rw-r--r-- f x\n":
				t.Errorf("unpacked %s", tree(t, got.Root))
			}
		})
	}
	for _, r := range append(open.Requests(), secure.Requests()...) {
		if r.Username != "" || r.Password != "" {
			t.Errorf("a login that was not meant for it reached a registry: %+v", r)
		}
	}
	if _, err := (&images.Store{}).Pull(context.Background(), "A B", plain()); !errors.Is(err, images.ErrName) {
		t.Errorf("%v is no ErrName", err)
	}
}

// A layer is fetched once, by however many at a time; a tag is asked for each time.
func TestPullOnce(t *testing.T) {
	r := testimage.NewRegistry(t, false, "", "")
	ref := r.Push(t, "a:latest", layers{{file("f", "1")}}.image(t))
	from := images.Registries{PlainHTTP: []string{r.Host}}
	s, _ := newStore(t)
	var all sync.WaitGroup
	roots := make([]string, 8)
	for i := range roots {
		all.Go(func() {
			img, err := s.Pull(context.Background(), ref, from)
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = img.Root
		})
	}
	all.Wait()
	layersSeen := map[string]int{}
	for _, req := range r.Requests() {
		if strings.Contains(req.Path, "/blobs/") && req.Method == http.MethodGet {
			layersSeen[req.Path]++
		}
	}
	if most := len(layersSeen); most != 2 { // the configuration and the layer
		t.Errorf("fetched %v", layersSeen)
	}
	if n := r.Blobs(); n != len(roots)+1 { // each reads the configuration, one the layer
		t.Errorf("%d fetches of blobs: %v", n, layersSeen)
	}
	for _, root := range roots {
		if root != roots[0] {
			t.Errorf("unpacked in %s and %s", roots[0], root)
		}
	}
	r.Push(t, "a:latest", layers{{file("f", "2")}}.image(t))
	moved, err := s.Pull(context.Background(), ref, from)
	if err != nil || tree(t, moved.Root) != "-rw-r--r-- f 2\n" || tree(t, roots[0]) != "-rw-r--r-- f 1\n" {
		t.Errorf("the tag that moved gave %+v, %v", moved, err)
	}
}

// Of an image for several machines the one for this is taken.
func TestPullForThisMachine(t *testing.T) {
	mine := layers{{file("f", "mine")}}.image(t)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: layers{{file("f", "other")}}.image(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	other := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}}})
	r := testimage.NewRegistry(t, false, "", "")
	push := func(repository string, index v1.ImageIndex) string {
		ref := r.Reference(t, repository)
		if err := remote.WriteIndex(ref, index); err != nil {
			t.Fatal(err)
		}
		return ref.Name()
	}
	from := images.Registries{PlainHTTP: []string{r.Host}}
	s, _ := newStore(t)
	got, err := s.Pull(context.Background(), push("multi:1", index), from)
	if err != nil || tree(t, got.Root) != "-rw-r--r-- f mine\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Pull(context.Background(), push("other:1", other), from); err == nil || !strings.Contains(err.Error(), "no match for platform") {
		t.Errorf("error %v", err)
	}
}

// A deleted group does not wait for a layer that hangs.
func TestPullIsCalledOff(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		once.Do(func() { close(asked) })
		<-req.Context().Done()
	}))
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	s, _ := newStore(t)
	host := r.Listener.Addr().String()
	if _, err := s.Pull(ctx, host+"/a:1", images.Registries{PlainHTTP: []string{host}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
