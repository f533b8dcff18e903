package ecitest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// cacheOf makes a cache of images and waits for its status.
func cacheOf(t *testing.T, s *ecitest.Server, want string, more ...string) string {
	t.Helper()
	answer, code := call(t, s, "CreateImageCache", with(pairs("ImageCacheName", "cache", "Image.1", "host"), pairs(more...)))
	if code != "" {
		t.Fatalf("create image cache: %s", code)
	}
	id := answer["ImageCacheId"].(string)
	awaitCache(t, s, id, want)
	return id
}

func awaitCache(t *testing.T, s *ecitest.Server, id, want string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		list := caches(t, s, "ImageCacheId", id)
		if len(list) == 1 && list[0].(map[string]any)["Status"] == want {
			return list[0].(map[string]any)
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s in %s: %v", want, patience, list)
		}
	}
}

func caches(t *testing.T, s *ecitest.Server, filter ...string) []any {
	t.Helper()
	answer, code := call(t, s, "DescribeImageCaches", pairs(filter...))
	if code != "" {
		t.Fatal(code)
	}
	return answer["ImageCaches"].([]any)
}

func TestCreateImageCache(t *testing.T) {
	const bad, none = "400 InvalidParameter", "400 MissingParameter"
	s := start(t, ecitest.Options{})
	runTable(t, s, "CreateImageCache", pairs("ImageCacheName", "cache", "Image.1", "host"), []actionTest{
		{"the base", nil, "200"},
		{"all", pairs("VSwitchId", "vsw-1", "SecurityGroupId", "sg-1", "ImageCacheSize", "30", "RetentionDays", "7", "Flash", "true",
			"StandardCopyCount", "2", "FlashCopyCount", "2", "EliminationStrategy", "LRU", "AutoMatchImageCache", "true", "Tag.1.Key", "a",
			"ImageRegistryCredential.1.Server", "r", "ImageRegistryCredential.1.UserName", "u", "ImageRegistryCredential.1.Password", "p",
			"PlainHttpRegistry", "r:5000", "AcrRegistryInfo.1.InstanceId", "cri-1", "OsType", "Linux"), "200"},
		{"no name", pairs("ImageCacheName", ""), none},
		{"no image", pairs("Image.1", ""), none},
		{"20 images", numbered(20, "Image.%d", "host:%d"), "200"},
		{"21 images", numbered(21, "Image.%d", "host:%d"), bad},
		{"long image", pairs("Image.1", strings.Repeat("x", 256)), bad},
		{"11 vSwitches", pairs("VSwitchId", "v"+strings.Repeat(",v", 10)), bad},
		{"21 tags", numbered(21, "Tag.%d.Key", "k%d"), bad},
		{"size", pairs("ImageCacheSize", "0"), bad},
		{"retention", pairs("RetentionDays", "0"), bad},
		{"elimination", pairs("EliminationStrategy", "FIFO"), bad},
		{"registry with a scheme", pairs("ImageRegistryCredential.1.Server", "http://r", "ImageRegistryCredential.1.UserName", "u", "ImageRegistryCredential.1.Password", "p"), bad},
		{"Windows", pairs("OsType", "Windows"), "403 Forbidden.OnlyForInvitedTest"},
		{"long token", pairs("ClientToken", strings.Repeat("x", 65)), bad},
	})
	p := pairs("ImageCacheName", "cache", "Image.1", "host", "ClientToken", "c1")
	first, _ := call(t, s, "CreateImageCache", p)
	again, _ := call(t, s, "CreateImageCache", p)
	if first["ImageCacheId"] != again["ImageCacheId"] || first["ContainerGroupId"] != again["ContainerGroupId"] {
		t.Errorf("%v, again %v", first, again)
	}
	runTable(t, s, "CreateImageCache", p, []actionTest{{"token with another name", pairs("ImageCacheName", "x"), "400 IdempotentParameterMismatch"}})
}

func TestImageCacheBuild(t *testing.T) {
	s := start(t, ecitest.Options{})
	t.Run("ready", func(t *testing.T) {
		c := awaitCache(t, s, cacheOf(t, s, "Ready", "RetentionDays", "7", "Tag.1.Key", "a", "Tag.1.Value", "b"), "Ready")
		if c["Progress"] != "100%" || c["ImageCacheSize"] != 20.0 || fmt.Sprint(c["Images"]) != "[host]" || c["RegionId"] != "ap-northeast-1" ||
			c["ExpireDateTime"] == "" || c["LastMatchedTime"] != "" || !strings.HasPrefix(c["SnapshotId"].(string), "s-") {
			t.Errorf("%v", c)
		}
		if n := len(c["Events"].([]any)); n == 0 {
			t.Error("no events")
		}
	})
	t.Run("no such image", func(t *testing.T) {
		c := awaitCache(t, s, cacheOf(t, s, "Failed", "Image.2", "nowhere.example/x:1"), "Failed")
		if text := fmt.Sprint(c["Events"]); !strings.Contains(text, "nowhere.example/x:1") || c["ExpireDateTime"] == "" || c["Progress"] != "0%" {
			t.Errorf("%v", c)
		}
	})
	t.Run("its temporary group", func(t *testing.T) {
		slow := start(t, ecitest.Options{Delays: ecitest.Delays{Cache: time.Hour}})
		id := cacheOf(t, slow, "Creating")
		group := awaitCache(t, slow, id, "Creating")["ContainerGroupId"].(string)
		g := await(t, slow, group, status("Running"))
		if g["Cpu"] != 2.0 || g["Memory"] != 4.0 || !slices.Contains(slow.Live(), group) {
			t.Errorf("%v, live %v", g, slow.Live())
		}
		remove(t, slow, group) // which the documentation forbids
		awaitCache(t, slow, id, "Failed")
		await(t, slow, group, func(g map[string]any) bool { return g == nil })
	})
	t.Run("deleted meanwhile", func(t *testing.T) {
		slow := start(t, ecitest.Options{Delays: ecitest.Delays{Cache: time.Hour}})
		id := cacheOf(t, slow, "Creating")
		if _, got := outcome(t, slow, "DeleteImageCache", pairs("ImageCacheId", id)); got != "200" {
			t.Error(got)
		} // the leak check sees that its group ends
	})
}

func TestUpdateImageCache(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := cacheOf(t, s, "Ready")
	runTable(t, s, "UpdateImageCache", pairs("ImageCacheId", id), []actionTest{
		{"no id", pairs("ImageCacheId", "", "ImageCacheName", "x"), "400 MissingParameter"},
		{"unknown id", pairs("ImageCacheId", "imc-none"), "404 InvalidParameter.NotFound"},
		{"nothing", nil, "400 NoNeedUpdate"},
		{"the same", pairs("Image.1", "host", "ImageCacheName", "cache"), "400 NoNeedUpdate"},
		{"21 images", numbered(21, "Image.%d", "host:%d"), "400 InvalidParameter"},
		{"a parameter of create", pairs("ZoneId", "z"), "400 InvalidParameter"},
		{"name", pairs("ImageCacheName", "renamed"), "200"},
	})
	if c := awaitCache(t, s, id, "Ready"); c["ImageCacheName"] != "renamed" {
		t.Errorf("%v", c)
	}
	runTable(t, s, "UpdateImageCache", pairs("ImageCacheId", id), []actionTest{{"to an image that is not there", pairs("Image.1", "none"), "200"}})
	awaitCache(t, s, id, "UpdateFailed")
	runTable(t, s, "UpdateImageCache", pairs("ImageCacheId", id), []actionTest{{"and back", pairs("Image.1", "host"), "200"}})
	awaitCache(t, s, id, "Ready")

	slow := start(t, ecitest.Options{Delays: ecitest.Delays{Cache: time.Hour}})
	id = cacheOf(t, slow, "Creating")
	runTable(t, slow, "UpdateImageCache", pairs("ImageCacheId", id), []actionTest{{"while Creating", pairs("Image.1", "x"), "400 ImageCache.IncorrectStatus"}})
	runTable(t, slow, "DeleteImageCache", pairs("ImageCacheId", id), []actionTest{{"delete", nil, "200"}})
}

func TestDeleteImageCache(t *testing.T) {
	for code, want := range map[string]string{"": "404 InvalidParameter.NotFound", "ImageCache.IncorrectStatus": "400 ImageCache.IncorrectStatus"} {
		s := start(t, ecitest.Options{Switches: ecitest.Switches{UnknownImageCacheID: code}})
		id := cacheOf(t, s, "Ready")
		runTable(t, s, "DeleteImageCache", pairs("ImageCacheId", id), []actionTest{
			{"no id", pairs("ImageCacheId", ""), "400 MissingParameter"},
			{"of another region", pairs("RegionId", "cn-hangzhou"), want},
			{"first", pairs("ClientToken", "d1"), "200"},
			{"same token", pairs("ClientToken", "d1"), "200"},
			{"again", nil, want},
		})
		if list := caches(t, s); len(list) > 0 {
			t.Errorf("left: %v", list)
		}
	}
}

func TestDescribeImageCaches(t *testing.T) {
	s := start(t, ecitest.Options{})
	first := cacheOf(t, s, "Ready", "ImageCacheName", "first", "Tag.1.Key", "a", "Tag.1.Value", "1", "ResourceGroupId", "rg-1")
	cacheOf(t, s, "Failed", "ImageCacheName", "second", "Image.2", "other:1", "Tag.1.Key", "a", "Tag.1.Value", "2")
	snapshot := awaitCache(t, s, first, "Ready")["SnapshotId"].(string)
	for _, tt := range []struct {
		name   string
		filter map[string]string
		want   string
	}{
		{"all", nil, "[first second]"},
		{"region", pairs("RegionId", "cn-hangzhou"), "[]"},
		{"id", pairs("ImageCacheId", first), "[first]"},
		{"name", pairs("ImageCacheName", "second"), "[second]"},
		{"snapshot", pairs("SnapshotId", snapshot), "[first]"},
		{"image", pairs("Image", "other:1"), "[second]"},
		{"resource group", pairs("ResourceGroupId", "rg-1"), "[first]"},
		{"tag", pairs("Tag.1.Key", "a", "Tag.1.Value", "2"), "[second]"},
		{"best match first", pairs("MatchImage.1", "other:1", "MatchImage.2", "host"), "[second first]"},
		{"full match", pairs("MatchImage.1", "other:1", "MatchImage.2", "host", "ImageFullMatch", "true"), "[second]"},
		{"one match", pairs("MatchImage.1", "host", "ImageMatchCountRequest", "1"), "[first]"},
		{"no match", pairs("MatchImage.1", "nothing"), "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, code := call(t, s, "DescribeImageCaches", tt.filter)
			if got := fmt.Sprint(names(answer["ImageCaches"], "ImageCacheName")); code != "" || got != tt.want {
				t.Errorf("%s %s, want %s", code, got, tt.want)
			}
		})
	}
	answer, _ := call(t, s, "DescribeImageCaches", pairs("Limit", "1"))
	page, _ := call(t, s, "DescribeImageCaches", pairs("Limit", "1", "NextToken", answer["NextToken"].(string)))
	if answer["TotalCount"] != 2.0 || fmt.Sprint(names(page["ImageCaches"], "ImageCacheName")) != "[second]" || page["NextToken"] != "" {
		t.Errorf("%v, then %v", answer, page)
	}
	runTable(t, s, "DescribeImageCaches", map[string]string{}, []actionTest{
		{"100 images", numbered(100, "MatchImage.%d", "i:%d"), "200"},
		{"101 images", numbered(101, "MatchImage.%d", "i:%d"), "400 InvalidParameter"},
		{"limit", pairs("Limit", "0"), "400 InvalidParameter"},
		{"made-up token", pairs("NextToken", "YWZ0ZXIvLTE"), "400 InvalidParameter"},
	})
}

// What a cache does for a group: an event, and no pull, which would take an hour.
func TestImageCacheForGroups(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change map[string]string
		want   string // among the events
		status string // that the group gets to
	}{
		{"none asked for", nil, "Scheduled Pulling", "Pending"},
		{"matched", pairs("AutoMatchImageCache", "true"), "SuccessfulHitImageCache", "Running"},
		{"named", pairs("ImageSnapshotId", "CACHE"), "SuccessfulHitImageCache", "Running"},
		{"missed", pairs("AutoMatchImageCache", "true", "Container.1.Image", "other:1"), "ImageCacheMissed ImageCacheAutoCreated", "Pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Delays: ecitest.Delays{Pull: time.Hour}})
			id := cacheOf(t, s, "Ready")
			p := with(script("exec sleep 60"), tt.change)
			if p["ImageSnapshotId"] != "" {
				p["ImageSnapshotId"] = id
			}
			g := await(t, s, create(t, s, p), func(g map[string]any) bool {
				return g["Status"] == tt.status && strings.Contains(eventReasons(g), "Pull")
			})
			if reasons := eventReasons(g); !strings.Contains(reasons, tt.want) {
				t.Errorf("events %s, want %s", reasons, tt.want)
			}
			if used := awaitCache(t, s, id, "Ready")["LastMatchedTime"] != ""; used != (tt.status == "Running") {
				t.Errorf("used: %v", used)
			}
		})
	}
}

func TestAutoCreatedImageCache(t *testing.T) {
	s := start(t, ecitest.Options{})
	p := script("exit 0", "AutoMatchImageCache", "true", "EphemeralStorage", "10")
	first := create(t, s, p)
	await(t, s, first, status("Succeeded"))
	list := caches(t, s)
	if len(list) != 1 {
		t.Fatalf("%v", list)
	}
	c := awaitCache(t, s, list[0].(map[string]any)["ImageCacheId"].(string), "Ready")
	if c["ImageCacheName"] != "auto-create-for-"+first || c["ImageCacheSize"] != 40.0 || c["ExpireDateTime"] == "" {
		t.Errorf("%v", c)
	}
	g := await(t, s, create(t, s, p), status("Succeeded"))
	if !strings.Contains(eventReasons(g), "SuccessfulHitImageCache") || len(caches(t, s)) != 1 {
		t.Errorf("events %s, caches %v", eventReasons(g), caches(t, s))
	}
}

func TestImageSnapshotMustBeReady(t *testing.T) {
	s := start(t, ecitest.Options{})
	failed := cacheOf(t, s, "Failed", "Image.1", "none")
	ready := cacheOf(t, s, "Ready")
	runTable(t, s, "CreateContainerGroup", script("exit 0"), []actionTest{
		{"ready", pairs("ImageSnapshotId", ready), "200"},
		{"failed", pairs("ImageSnapshotId", failed), "400 ImageSnapshot.IncorrectStatus"},
		{"unknown", pairs("ImageSnapshotId", "imc-none"), "404 ImageSnapshot.NotFound"},
		{"of another region", pairs("ImageSnapshotId", ready, "RegionId", "cn-hangzhou"), "404 ImageSnapshot.NotFound"},
	})
}

// At the quota only a cache marked LRU makes room.
func TestImageCacheQuota(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{MaxImageCaches: 2, MaxAutoImageCaches: 1}})
	cacheOf(t, s, "Ready", "ImageCacheName", "kept")
	old := cacheOf(t, s, "Ready", "ImageCacheName", "old")
	base := pairs("ImageCacheName", "more", "Image.1", "host")
	runTable(t, s, "CreateImageCache", base, []actionTest{{"none to evict", nil, "403 QuotaExceeded"}})
	if _, got := outcome(t, s, "UpdateImageCache", pairs("ImageCacheId", old, "EliminationStrategy", "LRU")); got != "200" {
		t.Fatal(got)
	}
	runTable(t, s, "CreateImageCache", base, []actionTest{{"the LRU one goes", nil, "200"}})
	if got := fmt.Sprint(namesOf(caches(t, s))); got != "[kept more]" {
		t.Errorf("%s", got)
	}
	for _, image := range []string{"a:1", "b:1"} { // automatic ones go by themselves
		id := create(t, s, script("exit 0", "AutoMatchImageCache", "true", "Container.1.Image", image))
		await(t, s, id, func(map[string]any) bool { return len(caches(t, s)) == 3 && len(caches(t, s, "Image", image)) == 1 })
	}
}

func namesOf(list []any) []string { return names(list, "ImageCacheName") }
