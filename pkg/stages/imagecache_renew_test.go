package stages_test

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func (w *world) refresh(t *testing.T, force bool) (string, error) {
	t.Helper()
	return w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error {
		return k.Refresh(ctx, force, stages.CacheOptions{})
	})
}

// mustRefresh wants a part of what is said, and so many caches afterwards.
func (w *world) mustRefresh(t *testing.T, force bool, caches int, parts ...string) string {
	t.Helper()
	out, err := w.refresh(t, force)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantText(t, out, parts...)
	list := w.listedCaches(t)
	if len(list) != caches {
		t.Fatalf("%d caches, want %d: %+v\n%s", len(list), caches, list, out)
	}
	return list[len(list)-1].ID
}

// TestImageCacheRefresh goes through a cache's life against a real registry.
func TestImageCacheRefresh(t *testing.T) {
	t.Parallel()
	registry := testimage.NewRegistry(t, false, "ci", "pa55")
	image := func(text string) v1.Image {
		return testimage.Image(t, v1.Config{}, testimage.FileLayer(t, map[string]string{"f": text}))
	}
	w := newWorld(t, ecitest.Options{Pull: true})
	w.config.Pull.PlainHTTP = []string{registry.Host}
	w.config.Registries = append(w.config.Registries, config.Registry{Server: registry.Host, Username: "ci", Password: "pa55"})
	w.config.Helper.Image = registry.Push(t, "helper:1", image("helper"))
	w.config.ImageCache.Images = []string{registry.Push(t, "build:1", image("one"))}

	first := w.mustRefresh(t, false, 1, "Building image cache ")
	if asked := len(registry.Requests()); asked == 0 {
		t.Fatal("the registry was not asked")
	}
	before := registry.Blobs()
	if id := w.mustRefresh(t, false, 1, first+" is up to date."); id != first || registry.Blobs() != before {
		t.Errorf("%s is built anew as %s, or %d layers were got", first, id, registry.Blobs()-before)
	}
	registry.Push(t, "build:1", image("two"))
	second := w.mustRefresh(t, false, 1, first+" is out of date: "+registry.Host+"/build:1 stands for another image", "Deleted image cache "+first)
	third := w.mustRefresh(t, true, 1, "Deleted image cache "+second)

	given := w.createCache(t, w.config.ImageCache.Images[0])
	w.config.RunnerName = "another"
	others := w.mustRefresh(t, false, 3, "Building")
	w.config.RunnerName = ""
	w.config.ImageCache.Images = append(w.config.ImageCache.Images, registry.Push(t, "more:1", image("more")))
	w.config.ImageCache.SnapshotID = third
	fourth := w.mustRefresh(t, false, 4, third+" is out of date: its images are not those of the driver's file",
		"Kept "+third+", which snapshot_id in [image_cache] names", "delete "+third)
	w.config.ImageCache.SnapshotID = fourth
	w.mustRefresh(t, false, 3, fourth+" is up to date.", "Deleted image cache "+third)
	if d := cmp.Diff([]string{given, others, fourth}, ids(w.listedCaches(t))); d != "" {
		t.Errorf("left (-want +got)\n%s", d)
	}
	w.config.Pull.PlainHTTP = nil // nobody can ask any more
	out, err := w.refresh(t, false)
	wantError(t, err, "can't be told", "build anew with --force")
	if strings.Contains(out, "Deleted") || len(w.listedCaches(t)) != 3 {
		t.Errorf("%s", out)
	}
}

// TestImageCacheRefreshFails: the old one stays where the new one can't be built.
func TestImageCacheRefreshFails(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{})
	old := w.createCache(t)
	w.config.ImageCache.Images = []string{"127.0.0.1:1/none:1"}
	_, err := w.refresh(t, false)
	wantError(t, err, "127.0.0.1:1/none:1 can't be pulled")
	if list := w.listedCaches(t); len(list) != 2 || list[0].ID != old || list[0].Status != "Ready" || list[1].Status != "Failed" {
		t.Errorf("%+v", list)
	}
	w.config.ImageCache.Images = []string{unservedBuild}
	w.mustRefresh(t, true, 1, "Deleted image cache "+old) // and the failed one
}

// slowCaches shows every cache as still being built, in so many answers.
type slowCaches struct {
	stages.ImageCacheAPI
	answers int
}

func (s *slowCaches) DescribeImageCaches(ctx context.Context, id string) (eci.ImageCacheListing, error) {
	listing, err := s.ImageCacheAPI.DescribeImageCaches(ctx, id)
	if s.answers--; s.answers >= 0 {
		for i := range listing.Caches {
			listing.Caches[i].Status, listing.Caches[i].Progress = "Creating", "40%"
		}
	}
	return listing, err
}

// TestImageCacheRefreshResumes: what an interrupted refresh has begun is waited for.
func TestImageCacheRefreshResumes(t *testing.T) {
	t.Parallel()
	registry := testimage.NewRegistry(t, false, "", "")
	w := newWorld(t, ecitest.Options{Pull: true})
	w.config.Pull.PlainHTTP = []string{registry.Host}
	image := registry.Push(t, "a:1", testimage.Image(t, v1.Config{}, testimage.FileLayer(t, map[string]string{"f": "x"})))
	w.config.Helper.Image, w.config.ImageCache.Images = image, []string{image}
	out := &waiter{text: "Creating 40%", seen: make(chan struct{})}
	ctx, cancel := context.WithCancel(w.context(t))
	k := w.imageCaches(t, out)
	k.API = &slowCaches{k.API, math.MaxInt}
	done := make(chan error, 1)
	go func() { done <- k.Refresh(ctx, false, stages.CacheOptions{}) }()
	out.await(t, done)
	cancel()
	wantError(t, <-done, "goes on being built")

	var said bytes.Buffer
	k = w.imageCaches(t, &said)
	k.API = &slowCaches{k.API, 2} // to Refresh, and to the first look after it
	if err := k.Refresh(w.context(t), false, stages.CacheOptions{}); err != nil {
		t.Fatal(err)
	}
	wantText(t, said.String(), "is up to date, and still being built.", "  Creating 40%", "Jobs with these images start from it")
	if n := w.calls()["CreateImageCache"]; n != 1 {
		t.Errorf("%d builds", n)
	}
}

// TestImageCacheListAndDelete: others' caches are listed, and deleted by id alone.
func TestImageCacheListAndDelete(t *testing.T) {
	t.Parallel()
	w := newCacheWorld(t, ecitest.Options{ClockOffset: 5 * time.Minute})
	foreign, _, err := w.client(t, w.server.URL()).CreateImageCache(t.Context(), eci.ImageCacheSpec{Name: "somebody-elses", Images: []string{"host"}})
	if err != nil {
		t.Fatal(err)
	}
	w.config.RunnerName = "runner-2"
	other := w.createCache(t)
	w.config.RunnerName = ""
	ours := w.createCache(t, "127.0.0.1:1/other:1")
	list := w.listedCaches(t)
	if d := cmp.Diff([]string{foreign, other, ours}, ids(list)); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
	for i, want := range []stages.ListedCache{{Ours: false}, {Runner: "runner-2"}, {Ours: true}} {
		if c := list[i]; c.Ours != want.Ours || c.Runner != want.Runner || c.Status == "" || c.SizeGiB != 20 || len(c.Images) == 0 ||
			c.Created == nil || c.Age == nil || *c.Age > 60 || c.Used != nil || c.Expires != nil {
			t.Errorf("%+v", c)
		}
	}
	table, err := w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error { return k.List(ctx, false) })
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, table, "ID ", "OURS", "of runner-2", " yes ", "somebody-elses", "127.0.0.1:1/helper:v19.4.0")

	drop := func(wanted ...string) (string, error) {
		return w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error { return k.Delete(ctx, wanted, false) })
	}
	_, err = drop(ours, "somebody-elses", list[1].Name, "nothing")
	wantError(t, err, `"somebody-elses" is not ours: say its id, `+foreign, `"`+list[1].Name+`" is not ours`, `no image cache in ap-northeast-1 has the id or the name "nothing"`)
	if len(w.listedCaches(t)) != 3 {
		t.Error("something was deleted")
	}
	w.config.ImageCache.SnapshotID = ours
	out, err := drop(list[2].Name, ours, foreign)
	if err != nil || strings.Count(out, "Deleted") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	wantText(t, out, "snapshot_id in [image_cache] still names "+ours)
	out, err = w.withCaches(t, func(ctx context.Context, k *stages.ImageCaches) error { return k.Delete(ctx, nil, true) })
	if err != nil || !slices.Equal(ids(w.listedCaches(t)), []string{other}) {
		t.Errorf("all of ours: %v\n%s", err, out)
	}
	wantText(t, out, "No image caches of ours in ap-northeast-1")
}
