package stages_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// Images of a registry that nobody serves, which says so at once.
const (
	unservedBuild  = "127.0.0.1:1/build:1"
	unservedHelper = "127.0.0.1:1/helper:v19.4.0"
)

// newCacheWorld is a world whose images the local ECI has, and no registry.
func newCacheWorld(t *testing.T, o ecitest.Options) *world {
	t.Helper()
	image := hostImage(t)
	top := t.TempDir()
	program := filepath.Join(top, "usr/bin/gitlab-runner-helper")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho stand-in\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	helper := image
	helper.Layers = append([]string{top}, image.Layers...)
	o.Images = map[string]ecitest.Image{unservedBuild: image, unservedHelper: helper, "127.0.0.1:1/other:1": image}
	w := newWorld(t, o)
	w.config.Helper.Image = "127.0.0.1:1/helper:v{runner_version}"
	w.config.ImageCache.Images = []string{unservedBuild}
	return w
}

func (w *world) imageCaches(t testing.TB, out io.Writer) *stages.ImageCaches {
	return &stages.ImageCaches{Config: w.config, API: w.client(t, w.server.URL()), Clock: stages.SystemClock{}, Stdout: out, RunnerVersion: "19.4.0"}
}

// withCaches does something and returns what was said.
func (w *world) withCaches(t testing.TB, do func(ctx context.Context, k *stages.ImageCaches) error) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := do(w.context(t), w.imageCaches(t, &out))
	return out.String(), err
}

func (w *world) createCache(t testing.TB, images ...string) string {
	t.Helper()
	out, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
		return k.Create(ctx, images, stages.CacheOptions{})
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return w.listedCaches(t)[len(w.listedCaches(t))-1].ID
}

func (w *world) listedCaches(t testing.TB) []stages.ListedCache {
	t.Helper()
	out, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error { return k.List(ctx, true) })
	var list []stages.ListedCache
	if err = errors.Join(err, json.Unmarshal([]byte(out), &list)); err != nil {
		t.Fatal(err)
	}
	return list
}

func ids(list []stages.ListedCache) []string {
	got := []string{}
	for _, c := range list {
		got = append(got, c.ID)
	}
	return got
}

func wantText(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("it does not say %q:\n%s", p, text)
		}
	}
}

// TestImageCacheCreate: the request has what prepare's has, the cost comes before it,
// and a job starts from the cache.
func TestImageCacheCreate(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{})
	w.config.RunnerName = "runner-1"
	w.config.Group.ResourceGroupID, w.config.Group.Tags = "rg-1", map[string]string{"team": "ci"}
	w.config.Network.EIPID = "eip-1"
	w.config.Pull.PlainHTTP, w.config.Pull.Insecure = []string{"plain:1"}, []string{"insecure:1"}
	w.config.Pull.Mirrors = map[string]string{"docker.io/library/": "127.0.0.1:1/"}
	w.config.ImageCache.Images = []string{"build:1", unservedBuild} // the same by the mirror
	w.config.Registries = []config.Registry{{Server: "127.0.0.1:1", Username: "ci", Password: "registry-password"}, {Server: "acr.example.com", ACRInstanceID: "cri-1"}}
	out, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
		return k.Create(ctx, nil, stages.CacheOptions{SizeGiB: 30, RetentionDays: 7})
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cost, begin := strings.Index(out, "Cost: "), strings.Index(out, "Building image cache imc-")
	if cost < 0 || begin < cost {
		t.Errorf("the cost does not come before the build:\n%s", out)
	}
	wantText(t, out, " is to hold 2 images:", "2 vCPU and 4 GiB (0.", " an hour)", "ESSD PL1 disk of 30 GiB", "its snapshot, for 7 days", "a disk of 30 GiB",
		"What "+unservedBuild+" stands for is not known here", "Ready after ", "auto_match in [image_cache] is true", `snapshot_id = "imc-`)
	if strings.Contains(out, "registry-password") {
		t.Errorf("a password is told:\n%s", out)
	}
	got := map[string]string{}
	for _, c := range w.server.Calls() {
		for key := range c.All() {
			if c.Action == "CreateImageCache" && !slices.Contains(c.InQuery, key) {
				got[key] = c.All().Get(key)
			}
		}
	}
	if !strings.HasPrefix(got["ImageCacheName"], "ci-cache-runner-1-20") || len(got["ClientToken"]) != 32 {
		t.Errorf("name %q, token %q", got["ImageCacheName"], got["ClientToken"])
	}
	delete(got, "ImageCacheName")
	delete(got, "ClientToken")
	want := map[string]string{
		"Image.1": unservedBuild, "Image.2": unservedHelper, "VSwitchId": "vsw-1,vsw-2", "SecurityGroupId": "sg-1", "ResourceGroupId": "rg-1",
		"EipInstanceId": "eip-1", "ImageCacheSize": "30", "RetentionDays": "7", "PlainHttpRegistry": "plain:1", "InsecureRegistry": "insecure:1",
		"ImageRegistryCredential.1.Server": "127.0.0.1:1", "ImageRegistryCredential.1.UserName": "ci", "ImageRegistryCredential.1.Password": "registry-password",
		"AcrRegistryInfo.1.InstanceId": "cri-1", "AcrRegistryInfo.1.RegionId": "ap-northeast-1", "AcrRegistryInfo.1.Domain.1": "acr.example.com",
		"Tag.1.Key": "digests", "Tag.1.Value": "------------", "Tag.2.Key": "images", "Tag.2.Value": "file",
		"Tag.3.Key": "managed-by", "Tag.3.Value": "eci-executor", "Tag.4.Key": "runner", "Tag.4.Value": "runner-1", "Tag.5.Key": "team", "Tag.5.Value": "ci",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("request (-want +got)\n%s", d)
	}
	w.job(t, map[string]any{"image": map[string]any{"name": "build:1"}})
	w.config.Network.EIPID = ""
	out, err = w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantText(t, out, "image cache used")
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
	w.awaitNoGroups(t)
}

// TestImageCachePlan: what can't be built costs no call.
func TestImageCachePlan(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{})
	for _, tt := range []struct {
		name   string
		change func(c *config.Config, k *stages.ImageCaches)
		given  []string
		want   string
	}{
		{"no image", func(c *config.Config, _ *stages.ImageCaches) { c.ImageCache.Images = nil }, nil, "set images in [image_cache]"},
		{"no reference", nil, []string{"A:1"}, `"A:1" is not an image reference`},
		{"no runner's version", func(_ *config.Config, k *stages.ImageCaches) { k.RunnerVersion = "" }, nil, "say it with --runner-version"},
		{"too many", nil, strings.Split("abcdefghijklmnopqrst", ""), "21 images with the helper's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, c := w.imageCaches(t, io.Discard), *w.config
			k.Config = &c
			if tt.change != nil {
				tt.change(&c, k)
			}
			wantError(t, k.Create(t.Context(), tt.given, stages.CacheOptions{}), tt.want)
		})
	}
	if calls := w.server.Calls(); len(calls) > 0 {
		t.Errorf("%d calls", len(calls))
	}
}

func TestImageCacheUse(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{})
	for _, tt := range []struct {
		name string
		use  config.ImageCache
		want string
	}{
		{"by itself", config.ImageCache{AutoMatch: true}, "start from it by themselves"},
		{"by hand", config.ImageCache{}, `To use it, set auto_match = true in [image_cache], or snapshot_id = "imc-`},
		{"another one", config.ImageCache{SnapshotID: "imc-old", AutoMatch: true}, `which names imc-old; or "" with auto_match = true`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.config.ImageCache = tt.use
			out, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
				return k.Create(ctx, []string{unservedBuild}, stages.CacheOptions{})
			})
			if err != nil {
				t.Fatal(err)
			}
			wantText(t, out, tt.want)
		})
	}
}

// TestImageCacheProgress: lines in a file; at a terminal what is waited for, and no line.
func TestImageCacheProgress(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{})
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		var waits []string
		k := w.imageCaches(t, &out)
		k.API = &slowCaches{k.API, 2}
		if terminal {
			k.Wait = func(what string) { waits = append(waits, what) }
		}
		if err := k.Create(w.context(t), nil, stages.CacheOptions{}); err != nil {
			t.Fatal(err)
		}
		_, building, _ := strings.Cut(out.String(), "Building image cache ")
		if terminal {
			waited := strings.Join(waits, "\n")
			if !strings.Contains(waited, "Creating 40%") || strings.Contains(building, "Creating") || waits[len(waits)-1] != "" {
				t.Errorf("at a terminal %q is waited for, and it has the lines\n%s", waits, building)
			}
			continue
		}
		wantText(t, building, "\n  Creating 40%, ")
		if n := strings.Count(building, "Creating 40%"); n > 2 { // the build's events may come between
			t.Errorf("%d lines of the same", n)
		}
	}
}

// TestImageCacheInterrupted: what goes on in the cloud is said, with what to do; a
// refresh waits for it instead of building another.
func TestImageCacheInterrupted(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{Delays: ecitest.Delays{Cache: time.Hour}})
	out := &waiter{text: "Creating 0%", seen: make(chan struct{})}
	ctx, cancel := context.WithCancel(w.context(t))
	done := make(chan error, 1)
	go func() { done <- w.imageCaches(t, out).Create(ctx, nil, stages.CacheOptions{}) }()
	out.await(t, done)
	cancel()
	err := <-done
	list := w.listedCaches(t)
	if len(list) != 1 || list[0].Status != "Creating" {
		t.Fatalf("%+v", list)
	}
	wantError(t, err, "interrupted", list[0].ID+" goes on being built in the cloud, which is billed", "eci-executor image-cache list", "eci-executor image-cache delete "+list[0].ID)
	if _, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
		return k.Delete(ctx, []string{list[0].ID}, false)
	}); err != nil {
		t.Error(err)
	}
	w.awaitNoGroups(t)
}

// TestImageCacheInterruptedEarly: before the create call nothing is made, and during it
// nobody knows.
func TestImageCacheInterruptedEarly(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	w := newCacheWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action != "CreateImageCache" {
			return ecitest.CallFault{}
		}
		close(asked)
		return ecitest.CallFault{DelayAfter: time.Hour}
	}}})
	ctx, cancel := context.WithCancel(w.context(t))
	cancel()
	wantError(t, w.imageCaches(t, io.Discard).Create(ctx, nil, stages.CacheOptions{}), "interrupted before anything was asked for")
	if n := w.calls()["CreateImageCache"]; n != 0 {
		t.Errorf("%d create calls", n)
	}
	ctx, cancel = context.WithCancel(w.context(t))
	go func() {
		<-asked
		cancel()
	}()
	wantError(t, w.imageCaches(t, io.Discard).Create(ctx, nil, stages.CacheOptions{}),
		"interrupted while image cache ci-cache-any-", "may be built all the same: eci-executor image-cache list shows it")
}

// TestImageCacheGone: a cache that is deleted while it is waited for.
func TestImageCacheGone(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{Delays: ecitest.Delays{Cache: time.Hour}})
	out := &waiter{text: "Creating 0%", seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- w.imageCaches(t, out).Create(w.context(t), nil, stages.CacheOptions{}) }()
	out.await(t, done)
	if _, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error { return k.Delete(ctx, nil, true) }); err != nil {
		t.Error(err)
	}
	wantError(t, <-done, "is gone: somebody has deleted it")
}

// TestImageCacheFailures: each says what to do.
func TestImageCacheFailures(t *testing.T) {
	t.Parallel()
	closed := testimage.NewRegistry(t, false, "ci", "pa55")
	for _, tt := range []struct {
		name    string
		options ecitest.Options
		given   []string
		want    []string
	}{
		{"no such image", ecitest.Options{}, []string{"127.0.0.1:1/none:1"},
			[]string{" is Failed: the image 127.0.0.1:1/none:1 can't be pulled: 127.0.0.1:1 does not have it", "ECI says: failed to pull", "correct its name", "image-cache delete imc-"}},
		{"no login", ecitest.Options{Pull: true}, []string{closed.Host + "/a:1"},
			[]string{closed.Host + " refuses it", "add a [[registry]] for " + closed.Host}},
		{"quota", ecitest.Options{Faults: refused("QuotaExceeded", "ImageCache quota exceeded.")}, nil,
			[]string{"create image cache ci-cache-any-", "QuotaExceeded", "quota of image caches is used up", "raise it in the Quota Center"}},
		{"permission", ecitest.Options{Faults: refused("NoPermission", "no")}, nil,
			[]string{"NoPermission", "Allow the RAM action eci:CreateImageCache"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newCacheWorld(t, tt.options)
			w.config.Pull.PlainHTTP = []string{closed.Host}
			_, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
				return k.Create(ctx, tt.given, stages.CacheOptions{})
			})
			wantError(t, err, tt.want...)
		})
	}
}

func refused(code, message string) ecitest.Faults {
	return ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action != "CreateImageCache" {
			return ecitest.CallFault{}
		}
		return ecitest.CallFault{Status: http.StatusForbidden, Code: code, Message: message}
	}}
}

// TestImageCacheAnswerLost: a create call whose answer is lost makes one cache.
func TestImageCacheAnswerLost(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		return ecitest.CallFault{CutAfter: action == "CreateImageCache" && n == 0}
	}}})
	w.createCache(t)
	if list := w.listedCaches(t); len(list) != 1 || w.calls()["CreateImageCache"] != 2 {
		t.Errorf("%d caches of %d calls", len(list), w.calls()["CreateImageCache"])
	}
}
