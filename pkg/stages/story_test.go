package stages

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// handClock is moved by hand.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time                       { return c.now }
func (c *handClock) After(time.Duration) <-chan time.Time { panic("a story waits for nothing") }

// telling is a story whose time the test makes.
type telling struct {
	*story
	clock *handClock
	out   *strings.Builder
}

func tell() telling {
	clock := &handClock{time.Unix(1_790_000_000, 0)}
	out := &strings.Builder{}
	return telling{openStory(out, clock, "Container group ci-12-p7-j42-a0123abcd"), clock, out}
}

func (t telling) after(seconds float64) telling {
	t.clock.now = t.clock.now.Add(time.Duration(seconds * float64(time.Second)))
	return t
}

// at is the time that ECI's clock shows so many seconds after the beginning.
func at(second int) time.Time { return time.Unix(1_790_000_000+int64(second), 0) }

func normal(second int, reason, message string) eci.Event {
	return eci.Event{Type: "Normal", Reason: reason, Message: message, First: at(second), Count: 1}
}

func warn(second int, reason, message string) eci.Event {
	return eci.Event{Type: "Warning", Reason: reason, Message: message, First: at(second), Count: 1}
}

func storySpec() eci.GroupSpec {
	return eci.GroupSpec{Name: "ci-12-p7-j42-a0123abcd", CPU: 2, MemoryGiB: 3, VSwitchIDs: []string{"vsw-1", "vsw-2"}, ScheduleStrategy: "VSwitchOrdered",
		SpotStrategy: "SpotWithPriceLimit", SpotPriceLimit: 0.5, AutoMatchImageCache: true,
		Containers: []eci.Container{{Name: "helper", Image: "helper:x86_64-v19.4.0", PullPolicy: "IfNotPresent"}, {Name: "build", Image: "maven:latest", PullPolicy: "IfNotPresent"}}}
}

// group is one in zone a, with what has happened so far.
func storyGroup(status string, events ...eci.Event) *eci.Group {
	return &eci.Group{ID: "eci-2ze1", Status: status, ZoneID: "ap-northeast-1a", VSwitchID: "vsw-1", CPU: 2, MemoryGiB: 4, CreationTime: at(0), Events: events,
		Containers: []eci.ContainerStatus{{Name: "helper"}, {Name: "build"}}}
}

// TestStories: what a person reads, to the letter.
func TestStories(t *testing.T) {
	tests := map[string]func(telling){
		"pulled": func(s telling) {
			spec := storySpec()
			events := []eci.Event{normal(0, "UserInstanceTypeSpec", "[eci.containergroup]The user-specified instanceType for current eci instance is 2.0-4.0Gi"),
				warn(1, "ImageCacheMissed", "[eci.imagecache]Missed image cache.")}
			s.request(spec)
			s.enter("create")
			s.after(0.3).accepted("eci-2ze1")
			s.after(0.1).look(&eci.Group{ID: "eci-2ze1", Status: "Scheduling"})
			s.after(3).look(storyGroup("Scheduling", events...))
			events = append(events, normal(8, "Scheduled", "Successfully assigned default/ci-12-p7-j42-a0123abcd to cn"), normal(8, "Pulling", `Pulling image "maven:latest"`))
			s.after(5).look(storyGroup("Pending", events...))
			s.after(3).look(storyGroup("Pending", events...))
			events = append(events, warn(10, "SpotDegraded", "no stock"), normal(12, "Pulled", `Successfully pulled image "maven:latest" in 4.1s`), normal(12, "Started", "Started container build"))
			group := storyGroup("Running", events...)
			group.Containers[1].StartTime = at(13)
			s.after(2).look(group)
			s.ready(group)
		},
		"cached": func(s telling) {
			spec := storySpec()
			spec.SpotStrategy, spec.ScheduleStrategy, spec.InstanceTypes, spec.EphemeralStorageGiB = "", "VSwitchRandom", []string{"2-4Gi"}, 20
			s.request(spec)
			s.enter("create")
			s.after(0.3).accepted("eci-2ze1")
			group := storyGroup("Running",
				normal(0, "SuccessfulHitImageCache", "[eci.imagecache]Successfully hit image cache imc-6we1, eci will be scheduled with this image cache."),
				normal(9, "Pulled", `Container image "helper:x86_64-v19.4.0" already present on machine`),
				normal(9, "Pulled", `Container image "maven:latest" already present on machine`))
			s.after(10.6).look(group)
			s.ready(group)
		},
		"failed": func(s telling) {
			spec := storySpec()
			spec.SpotStrategy, spec.AutoMatchImageCache, spec.ImageSnapshotID, spec.VSwitchIDs = "SpotAsPriceGo", false, "imc-1", []string{"vsw-1"}
			s.request(spec)
			s.enter("create")
			s.after(1).accepted("eci-2ze1")
			s.after(2).look(storyGroup("ScheduleFailed", warn(1, "NoStock", "Create ECI failed because the specified instance is out of stock. \n")))
			spec.SpotStrategy = ""
			s.again(errors.New("eci-2ze1 could not be scheduled\nECI says"), "as pay-as-you-go instead of spot", spec)
			s.enter("create")
			s.after(1).accepted("eci-2ze2")
			s.after(1)
			s.close()
			s.close()
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			s := tell()
			f(s)
			golden := filepath.Join("testdata", "story-"+name+".txt")
			got := strings.ReplaceAll(s.out.String(), "\x1b", "ESC")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestMovingTags(t *testing.T) {
	for image, want := range map[string]bool{
		"maven": true, "maven:latest": true, "maven:stable": true, "r.example.com:5000/a/b:main": true,
		"maven:3": false, "maven:3-eclipse-temurin-21": false, "r.example.com:5000/a": true,
		"maven@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": false, "UPPER case": false,
	} {
		if got := moves(image); got != want {
			t.Errorf("%s: %v, want %v", image, got, want)
		}
	}
}
