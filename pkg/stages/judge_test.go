package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// judging is a stage that can judge groups: no server, no files.
func judging(t testing.TB, driverFile string) *Stage {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(smallDriverFile+driverFile))
	if err != nil {
		t.Fatal(err)
	}
	return &Stage{Config: cfg, Job: someJob(), Clock: SystemClock{}}
}

func pullFailed(image, text string, count int) eci.Event {
	return eci.Event{Type: "Warning", Reason: "Failed", Message: fmt.Sprintf("Failed to pull image %q: %s", image, text), Count: count}
}

// waitingFor is a group whose build waits for its image, with events.
func waitingFor(image string, events ...eci.Event) *eci.Group {
	return &eci.Group{ID: "eci-1", Status: "Pending", Events: events, Containers: []eci.ContainerStatus{
		{Name: "helper", Image: "helper:1", State: "Running"}, {Name: "build", Image: image, State: "Waiting", Reason: "ImagePullBackOff"}}}
}

// TestPullFailures: what container runtimes say, word for word, and who has to
// mend it. An image whose name holds such a word is not taken for it.
func TestPullFailures(t *testing.T) {
	const image = "registry.example.com/team/denied-not-found-x509:1"
	tests := []struct {
		name, said string
		image      string
		ends       bool // the wait, before [timeouts] ready
		blame      blame
		want       string
	}{
		{"containerd: no such tag", `rpc error: code = NotFound desc = failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": ` + image + `: not found`, "", true, author, "does not have it"},
		{"docker: no such tag", "rpc error: code = Unknown desc = Error response from daemon: manifest for " + image + " not found: manifest unknown: manifest unknown", "", true, author, "does not have it"},
		{"docker hub: no such repository, or private", "rpc error: code = Unknown desc = Error response from daemon: pull access denied for " + image + ", repository does not exist or may require 'docker login': denied: requested access to the resource is denied", "", true, author, "refuses it"},
		{"gitlab registry", `failed to authorize: failed to fetch oauth token: unexpected status: 403 Forbidden`, "", true, author, "refuses it"},
		{"no basic auth", "no basic auth credentials", "", true, author, "refuses it"},
		{"unauthorized", "unexpected status code 401 Unauthorized", "", true, author, "refuses it"},
		{"another architecture", "no matching manifest for linux/amd64 in the manifest list entries", "", true, author, "built for linux/amd64"},
		{"another architecture, containerd", "no match for platform in manifest: not found", "", true, author, "built for linux/amd64"},
		{"no name", `couldn't parse image name: invalid reference format`, "", true, author, "no name of an image"},
		{"plain http", "http: server gave HTTP response to HTTPS client", "", true, operator, "plain_http"},
		{"certificate", "tls: failed to verify certificate: x509: certificate signed by unknown authority", "", true, operator, "insecure"},
		{"disk", "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device", "", true, operator, "ephemeral_storage"},
		{"dns", `dial tcp: lookup registry.example.com on 100.100.2.136:53: no such host`, "", false, operator, "can't be reached"},
		{"refused", "dial tcp 203.0.113.7:443: connect: connection refused", "", false, operator, "can't be reached"},
		{"silent", "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)", "", false, operator, "can't be reached"},
		{"cut off", "failed to copy: httpReadSeeker: failed open: unexpected EOF", "", false, operator, "can't be reached"},
		{"registry down", `unexpected status from HEAD request to https://` + image + `: 503 Service Unavailable`, "", false, operator, "can't be reached"},
		{"a host that is not found, with a not found behind it", "dial tcp: lookup x: server misbehaving: not found", "", false, operator, "can't be reached"},
		{"too many", "toomanyrequests: You have reached your pull rate limit.", "", false, operator, "limits how often"},
		{"the name alone", "something that nobody has seen before", image, false, operator, "a reason that this driver does not know"},
		{"docker.io without its name", "failed to resolve reference: not found", "denied:x509", true, author, "docker.io does not have it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := judging(t, "")
			if tt.image == "" {
				tt.image = image
			}
			s.Job.Image.Name = tt.image
			group := waitingFor(tt.image, pullFailed(tt.image, tt.said, 1))
			err := s.judge(group, func(eci.Event) time.Duration { return 0 })
			if (err != nil) != tt.ends {
				t.Fatalf("ends the wait: %v, want %v", err, tt.ends)
			}
			if err == nil {
				err = s.late(group)
			}
			var start *startError
			if !errors.As(err, &start) || start.blame != tt.blame || start.lasting != tt.ends || !strings.Contains(err.Error(), tt.want) ||
				!strings.Contains(err.Error(), tt.said) || !strings.Contains(err.Error(), tt.image) {
				t.Errorf("blame %v, want %v, text %q in:\n%v", start.blame, tt.blame, tt.want, err)
			}
			build := new(BuildError)
			if errors.As(err, &build) != (tt.blame == author) {
				t.Errorf("%v is a build failure, or is none", err)
			}
			// In the end it came after all.
			group.Events = append(group.Events, eci.Event{Type: "Normal", Reason: "Pulled", Message: fmt.Sprintf("Successfully pulled image %q in 2s", tt.image)})
			group.Containers[1].Reason = "ContainerCreating"
			if err := s.judge(group, func(eci.Event) time.Duration { return time.Hour }); err != nil {
				t.Errorf("an image that has come fails: %v", err)
			}
		})
	}
}

// TestJudge: all but pulls, in ECI's and the kubelet's words.
func TestJudge(t *testing.T) {
	mount := func(text string) *eci.Group {
		return &eci.Group{ID: "eci-1", Status: "Pending", Events: []eci.Event{{Type: "Warning", Reason: "FailedMount", Message: text, Count: 1}},
			Containers: []eci.ContainerStatus{{Name: "helper", State: "Waiting", Reason: "ContainerCreating"}, {Name: "build", State: "Waiting"}}}
	}
	build := func(c eci.ContainerStatus, events ...eci.Event) *eci.Group {
		c.Name, c.Image = "build", "maven:3"
		return &eci.Group{ID: "eci-1", Status: "Pending", Containers: []eci.ContainerStatus{{Name: "helper", State: "Running"}, c}, Events: events}
	}
	gaveUp := func(events ...eci.Event) *eci.Group {
		return &eci.Group{ID: "eci-1", Status: "ScheduleFailed", Events: events}
	}
	warning := func(reason string) eci.Event { return eci.Event{Type: "Warning", Reason: reason, Message: "m"} }
	tests := []struct {
		name    string
		group   *eci.Group
		seen    time.Duration
		want    string // "" = the wait goes on
		blame   blame
		lasting bool
		class   eci.Class
	}{
		{"just made", &eci.Group{ID: "eci-1", Status: "Scheduling"}, 0, "", 0, false, 0},
		{"a status that is new", &eci.Group{ID: "eci-1", Status: "Hibernating"}, time.Hour, "", 0, false, 0},
		{"no status", &eci.Group{ID: "eci-1"}, time.Hour, "", 0, false, 0},
		{"a container state that is new", build(eci.ContainerStatus{State: "Dreaming", Reason: "Unicorn"}), time.Hour, "", 0, false, 0},
		{"no sh, runc", build(eci.ContainerStatus{State: "Terminated", Reason: "StartError", ExitCode: 128,
			Message: `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown`}), 0, "no sh", author, true, 0},
		{"no sh, waiting", build(eci.ContainerStatus{State: "Waiting", Reason: "RunContainerError", Message: `exec: "sh": executable file not found in $PATH`}), 0, "no sh", author, true, 0},
		{"exec format error in the log", build(eci.ContainerStatus{State: "Terminated", Reason: "Error", ExitCode: 255, Message: "exec /bin/sh: exec format error"}), 0, "another machine", author, true, 0},
		{"no such user", build(eci.ContainerStatus{State: "Waiting", Reason: "CreateContainerError", Message: "unable to find user app: no matching entries in passwd file"}), 0, "USER of the job's `image:`", author, true, 0},
		{"can't be created, perhaps for a moment", build(eci.ContainerStatus{State: "Waiting", Reason: "CreateContainerError", Message: "context deadline"}), time.Second, "", 0, false, 0},
		{"can't be created", build(eci.ContainerStatus{State: "Waiting", Reason: "CreateContainerError", Message: "context deadline"}), time.Minute, "CreateContainerError", operator, false, 0},
		{"killed, with words in its log", build(eci.ContainerStatus{State: "Terminated", Reason: "Error", ExitCode: 137, Message: "exec: no such file or directory"}), 0, "exit code 137", operator, false, 0},
		{"helper dies at boot", &eci.Group{ID: "eci-1", Status: "Pending", Containers: []eci.ContainerStatus{
			{Name: "helper", Image: "helper:1", State: "Terminated", Reason: "Error", ExitCode: 1, Message: "Segmentation fault"}, {Name: "build", State: "Waiting"}}},
			0, "the helper container of group eci-1 (image helper:1) has ended (exit code 1, Error): Segmentation fault", operator, false, 0},
		{"killed", build(eci.ContainerStatus{State: "Terminated", Reason: "OOMKilled", ExitCode: 137}), 0, "exit code 137, OOMKilled", operator, false, 0},
		{"never pulled", build(eci.ContainerStatus{State: "Waiting", Reason: "ErrImageNeverPull"}), 0, "pull policy", author, true, 0},
		{"no image of that name", build(eci.ContainerStatus{State: "Waiting", Reason: "InvalidImageName", Message: "x"}), 0, "no name of an image", author, true, 0},
		{"mount: wrong path", mount(`MountVolume.SetUp failed for volume "nas-m2": mount.nfs: mounting nas-1:/x failed, reason given by server: No such file or directory`), 0, "[[nas]] m2", operator, true, 0},
		{"mount: wrong host", mount(`MountVolume.SetUp failed for volume "nas-m2": mount.nfs: Failed to resolve server nas-1: Name or service not known`), 0, "correct server", operator, true, 0},
		{"mount: option", mount(`mount.nfs: an incorrect mount option was specified for nas-1.ap-northeast-1.nas.aliyuncs.com:/m2`), 0, "correct options", operator, true, 0},
		{"mount: perhaps for a moment", mount(`MountVolume.SetUp failed for volume "nas-m2": mount.nfs: Connection timed out`), time.Second, "", 0, false, 0},
		{"mount: silent", mount(`MountVolume.SetUp failed for volume "nas-m2": mount.nfs: Connection timed out`), time.Minute, "security group", operator, false, 0},
		{"mount: of another volume", mount(`MountVolume.SetUp failed for volume "kube-api": no such file or directory`), 0, "a volume can't be mounted", operator, true, 0},
		{"gave up: stock", gaveUp(warning("NoStock")), 0, "out of stock", operator, false, eci.Capacity},
		{"gave up: stock, and a warning after it", gaveUp(warning("StockClose"), warning("MeteorStrike")), 0, "takes no new groups", operator, false, eci.Capacity},
		{"gave up: cache", gaveUp(warning("ImageCacheNotFound")), 0, "image cache", operator, false, eci.NoCache},
		{"gave up: money", gaveUp(warning("InsufficientBalance")), 0, "Top up", operator, true, eci.Stop},
		{"gave up: no event", gaveUp(), 0, "could not be scheduled", operator, false, 0},
		{"spot reclaimed", &eci.Group{ID: "eci-1", Status: "Expired"}, 0, "spot instance is gone", operator, false, 0},
		{"pending for 4 h", &eci.Group{ID: "eci-1", Status: "Failed", Events: []eci.Event{warning("PendingTimeout")}}, 0, "PendingTimeout", operator, false, 0},
		{"deleted by somebody", &eci.Group{ID: "eci-1", Status: "Terminating"}, 0, "has ended", operator, false, 0},
	}
	const nas = "[[nas]]\nname = \"m2\"\nserver = \"nas-1.ap-northeast-1.nas.aliyuncs.com\"\npath = \"/m2\"\nmount_path = \"/root/.m2\"\n"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := judging(t, nas)
			err := s.judge(tt.group, func(eci.Event) time.Duration { return tt.seen })
			if tt.want == "" {
				if err != nil {
					t.Fatalf("ends the wait: %v", err)
				}
				return
			}
			var start *startError
			if !errors.As(err, &start) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if !strings.Contains(err.Error(), "\nWhat "+tt.blame.String()+" can do: ") {
				t.Errorf("no next step in:\n%v", err)
			}
			if start.blame != tt.blame || start.lasting != tt.lasting || start.class != tt.class {
				t.Errorf("blame %v, lasting %v, class %v: %v", start.blame, start.lasting, start.class, err)
			}
		})
	}
}

// FuzzJudge: no group, however odd, makes the driver fall over.
func FuzzJudge(f *testing.F) {
	f.Add([]byte(`{"Status":"Pending","Containers":[{"Name":"build","State":"Waiting","Reason":"ErrImagePull","Image":"x"}],"Events":[{"Type":"Warning","Reason":"Failed","Message":"Failed to pull image \"x\": not found"}]}`))
	f.Add([]byte(`{"Status":"ScheduleFailed","Events":[{"Type":"Warning","Reason":"NoStock"}]}`))
	f.Add([]byte(`{"Containers":[{"Name":"helper","State":"Terminated","ExitCode":-1}],"Events":[{"Reason":"FailedMount","Type":"Warning"}]}`))
	s := judging(f, "")
	f.Fuzz(func(t *testing.T, data []byte) {
		var group eci.Group
		if json.Unmarshal(data, &group) != nil {
			return
		}
		story := openStory(new(strings.Builder), SystemClock{}, "x")
		story.look(&group)
		story.ready(&group)
		for _, err := range []error{s.judge(&group, func(eci.Event) time.Duration { return time.Hour }), s.late(&group), s.death(&group)} {
			if err != nil && strings.TrimSpace(err.Error()) == "" {
				t.Error("an error says nothing")
			}
			refusal(err)
		}
	})
}

// Where the kernel's kill of one container ended the whole group, that one is told.
func TestDeathForMemory(t *testing.T) {
	for _, reason := range []string{"OOMKilled", "Error"} {
		group := &eci.Group{ID: "eci-1", Status: "Failed",
			Events: []eci.Event{{Type: "Warning", Reason: "OOMKilled", Name: "build", Message: "Memory limit reached"}},
			Containers: []eci.ContainerStatus{{Name: "helper", State: "Terminated", ExitCode: 143, Reason: "Error"},
				{Name: "build", State: "Terminated", ExitCode: 137, Reason: reason}}}
		err := judging(t, "").death(group)
		for _, want := range []string{"the build container of group eci-1 has ended (exit code 137, " + reason, "raise the memory of the container group (ECI_MEMORY"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", reason, err, want)
			}
		}
	}
}

// A helper with a size of its own is killed for that, not for the group's.
func TestMemoryOfHelper(t *testing.T) {
	result := remote.Result{Status: 137, OOM: true}
	const ofItsOwn = "memory = \"512MiB\"" // behind [helper]
	for _, tt := range []struct{ name, driverFile, stage, want string }{
		{"within the group's", "", "get_sources", "the container group was used up (4 GiB); ask for more with the variable ECI_MEMORY, or [build] memory"},
		{"of its own", ofItsOwn, "get_sources", "the helper was used up (0.5 GiB); ask for more with the variable ECI_HELPER_MEMORY, or [helper] memory"},
		{"build beside it", ofItsOwn, "build_script", "ECI_MEMORY, or [build] memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := judging(t, tt.driverFile).outcome(tt.stage, &Record{}, result, nil, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	group := &eci.Group{ID: "eci-1", Status: "Running", Containers: []eci.ContainerStatus{
		{Name: "helper", State: "Terminated", ExitCode: 137, Reason: "OOMKilled"}, {Name: "build", State: "Running"}}}
	err := judging(t, ofItsOwn).death(group)
	if want := "raise the memory of the helper (ECI_HELPER_MEMORY or [helper] memory)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// The end of the group is not told as that of a container that went with it.
func TestDeathOfTheGroup(t *testing.T) {
	born := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	killed := func(name string, code int) eci.ContainerStatus {
		return eci.ContainerStatus{Name: name, State: "Terminated", ExitCode: code, Reason: "Error", FinishTime: born.Add(90 * time.Minute)}
	}
	runs := func(name string) eci.ContainerStatus { return eci.ContainerStatus{Name: name, State: "Running"} }
	tests := []struct {
		name       string
		status     string
		timeout    time.Duration
		containers []eci.ContainerStatus
		want       string
		again      bool // it is to be looked at once more
	}{
		{"its deadline", "Running", 80 * time.Minute, []eci.ContainerStatus{killed("helper", 143), killed("build", 143)}, "it has lived for 1h30m0s, its deadline", false},
		{"its deadline, and the status tells", "Failed", 80 * time.Minute, []eci.ContainerStatus{killed("helper", 143), killed("build", 143)}, "its deadline", false},
		{"from outside", "Running", 2 * time.Hour, []eci.ContainerStatus{killed("helper", 137), killed("build", 143)}, "container group eci-1 has ended (helper: exit code 137, build: exit code 143)", false},
		{"helper first", "Running", 2 * time.Hour, []eci.ContainerStatus{killed("helper", 137), runs("build")}, "the helper container of group eci-1", true},
		{"helper first, and the status tells", "Terminating", 2 * time.Hour, []eci.ContainerStatus{killed("helper", 137), runs("build")}, "has ended (status Terminating)", false},
		{"helper by itself", "Running", 2 * time.Hour, []eci.ContainerStatus{killed("helper", 70), runs("build")}, "the helper container of group eci-1", false},
		{"build by itself", "Running", 2 * time.Hour, []eci.ContainerStatus{runs("helper"), killed("build", 143)}, "the build container of group eci-1", false},
		{"the status alone", "Terminating", 2 * time.Hour, []eci.ContainerStatus{runs("helper"), runs("build")}, "has ended (status Terminating)", false},
		{"none", "Running", 2 * time.Hour, []eci.ContainerStatus{runs("helper"), runs("build")}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := judging(t, "")
			s.Job.Timeout = tt.timeout
			group := &eci.Group{ID: "eci-1", Status: tt.status, CreationTime: born, Containers: tt.containers}
			if err := s.death(group); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if again := ending(group); again != tt.again {
				t.Errorf("another look: %t", again)
			}
		})
	}
}

// A warning that groups have which are well is not quoted as the reason of an end.
func TestHarmlessWarnings(t *testing.T) {
	missed := eci.Event{Type: "Warning", Reason: "ImageCacheMissed", Message: "Missed image cache."}
	degraded := eci.Event{Type: "Warning", Reason: "SpotDegraded", Message: "Degraded to pay-as-you-go."}
	odd := eci.Event{Type: "Warning", Reason: "MeteorStrike", Message: "the zone is gone"}
	tests := []struct {
		name, status string
		events       []eci.Event
		want         string // what ECI is quoted with, "" = nothing
	}{
		{"nothing else", "Terminating", []eci.Event{missed, degraded}, ""},
		{"before it", "Terminating", []eci.Event{odd, missed, degraded}, "ECI says: MeteorStrike: the zone is gone"},
		{"without words", "ScheduleFailed", []eci.Event{{Type: "Warning", Reason: "MeteorStrike"}}, "ECI says: MeteorStrike\n"},
		{"without a place", "ScheduleFailed", []eci.Event{odd, missed}, "ECI says: MeteorStrike: the zone is gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := judging(t, "").death(&eci.Group{ID: "eci-1", Status: tt.status, Events: tt.events})
			if err == nil || strings.Contains(err.Error(), "ECI says") != (tt.want != "") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "image cache") {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// A job may ask for less of [debug] keep_on_failure, which is a part of its group's
// deadline: that deadline is told, not the longest that the driver's file allows.
func TestDeadlineOfAJobThatIsKeptForLess(t *testing.T) {
	s := judging(t, "[debug]\nkeep_on_failure = \"2h\"\n")
	s.Job.Timeout, s.Job.variables = 80*time.Minute, map[string]string{"ECI_KEEP_ON_FAILURE": "0"}
	born := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	killed := func(name string) eci.ContainerStatus {
		return eci.ContainerStatus{Name: name, State: "Terminated", ExitCode: 143, Reason: "Error", FinishTime: born.Add(90 * time.Minute)}
	}
	err := s.death(&eci.Group{ID: "eci-1", Status: "Running", CreationTime: born, Containers: []eci.ContainerStatus{killed("helper"), killed("build")}})
	if err == nil || !strings.Contains(err.Error(), "it has lived for 1h30m0s, its deadline") {
		t.Errorf("%v, want the deadline of the group", err)
	}
}
