package stages_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// unreachable is a pull error that ECI's own retries may heal.
const unreachable = `rpc error: code = Unknown desc = failed to do request: Head "https://registry.example.com/v2/app/manifests/1": dial tcp 203.0.113.7:443: i/o timeout`

// startFailure is a group that can't start, and what the job's log must say.
type startFailure struct {
	name    string
	image   string // of the job, default host
	change  func(*world)
	group   ecitest.GroupFault
	build   bool // a build failure, which the runner does not try again
	again   bool // another attempt of the job may do better, so it makes its calls
	log     []string
	patient bool // only [timeouts] ready ends the wait
	pull    time.Duration
}

func startFailures() []startFailure {
	pull := func(image, text string) ecitest.GroupFault {
		return ecitest.GroupFault{Pull: map[string]string{image: text}}
	}
	const denied = `rpc error: code = Unknown desc = failed to pull and unpack image: failed to resolve reference: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`
	return []startFailure{
		{name: "wrong name", image: "registry.example.com/absent:1", build: true,
			log: []string{"registry.example.com/absent:1", "container build", "registry.example.com does not have it", "ECI says: Failed to pull image", "the job's author can do: correct the job's `image:`"}},
		{name: "wrong name of a service", change: func(w *world) { w.services = []string{"registry.example.com/db:1"} }, build: true,
			log: []string{"registry.example.com/db:1", "container svc-0", "the service svc-0"}},
		{name: "wrong name of the helper", change: func(w *world) { w.config.Helper.Image = "helper:none" },
			log: []string{"helper:none", "docker.io does not have it", "the runner's operator can do: correct image of [helper]"}},
		{name: "no credentials", image: "registry.example.com/app:1", group: pull("registry.example.com/app:1", denied), build: true,
			log: []string{"registry.example.com refuses it", "DOCKER_AUTH_CONFIG", "[[registry]]"}},
		{name: "wrong credentials of the operator", image: "registry.example.com/app:1", group: pull("registry.example.com/app:1", denied),
			change: func(w *world) {
				w.config.Registries = []config.Registry{{Server: "registry.example.com", Username: "ci", Password: "wrong-pass"}}
			},
			log: []string{"registry.example.com refuses it", "the runner's operator can do", "correct the [[registry]] for registry.example.com"}},
		{name: "registry unreachable", image: "registry.example.com/app:1", group: pull("registry.example.com/app:1", unreachable), again: true, patient: true,
			log: []string{"not ready within [timeouts] ready", "registry.example.com/app:1", "registry.example.com can't be reached", "i/o timeout", "NAT gateway"}},
		{name: "certificate", image: "registry.example.com/app:1", group: pull("registry.example.com/app:1", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
			log: []string{"the certificate of registry.example.com is not trusted", "insecure in [pull]"}},
		{name: "disk full while pulling", group: pull("host", "failed to extract layer: write /var/lib/containerd/x: no space left on device"),
			log: []string{"image host of container build", "disk of the container group is full", "ephemeral_storage"}},
		{name: "NAS mount", group: ecitest.GroupFault{Mount: `MountVolume.SetUp failed for volume "nas-cache": mount.nfs: access denied by server while mounting nas-1.ap-northeast-1.nas.aliyuncs.com:/cache`},
			log: []string{"nas-1.ap-northeast-1.nas.aliyuncs.com:/cache", "[[nas]] cache", "can't be mounted", "access denied", "permission group"}},
		{name: "no sh in the image", image: "bare", build: true,
			log: []string{"the image bare of container build can't be started", "no sh", "executable file not found", "kaniko"}},
		{name: "exec format error", image: "foreign", build: true,
			log: []string{"the image foreign of container build can't be started", "another machine", "linux/amd64"}},
		{name: "exec format error that only the log tells", image: "mute", build: true,
			log: []string{"the image mute of container build can't be started", "another machine"}},
		// No image of build comes before helper has died, and with two policies that is waited for.
		{name: "no helper image", image: "user:1", group: ecitest.GroupFault{PullUntil: map[string]<-chan struct{}{"user:1": make(chan struct{})}},
			change: func(w *world) {
				w.config.Helper.Image, w.config.Pull.Policy = "host", []string{"if-not-present", "always"}
			},
			log: []string{"helper container", "exit code 70", "neither gitlab-runner nor gitlab-runner-helper", "set [helper] image"}},
		{name: "helper dies at boot", pull: time.Second, change: func(w *world) { w.config.Helper.Image = "dying" }, again: true,
			log: []string{"helper container", "(image dying)", "exit code 137", "the runner's operator can do: retry the job", "[helper]"}},
		{name: "pending for ever", group: ecitest.GroupFault{PendingForever: true}, again: true, patient: true,
			log: []string{"not ready within [timeouts] ready", "status Pending", "helper waiting ContainerCreating"}},
		{name: "no money", group: ecitest.GroupFault{ScheduleFailed: "InsufficientBalance", Message: "Your account does not have enough balance to purchase ECI"},
			log: []string{"could not be scheduled", "not enough money", "InsufficientBalance", "Top up"}},
		{name: "quota", group: ecitest.GroupFault{ScheduleFailed: "QuotaExceeded", Message: "vCPU quota"},
			log: []string{"could not be scheduled", "QuotaExceeded", "Quota Center"}},
		{name: "an event that is new", group: ecitest.GroupFault{ScheduleFailed: "MeteorStrike", Message: "the zone is gone"}, again: true,
			log: []string{"could not be scheduled", "MeteorStrike: the zone is gone"}},
		{name: "no stock anywhere", group: ecitest.GroupFault{ScheduleFailed: "NoStock", Message: "Create ECI failed because the specified instance is out of stock."}, again: true,
			log: []string{"could not be scheduled", "out of stock", "vswitch_ids"}},
	}
}

// failingImages are images beside host and helper:1 whose container can't start.
func failingImages(t *testing.T) map[string]ecitest.Image {
	layer := func(path, sh string) string {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(sh), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	return map[string]ecitest.Image{
		"bare":    {Layers: []string{layer("etc/motd", "")}},
		"foreign": {Layers: []string{layer("bin/sh", "\x7fELF of another machine")}},
		// What a runtime prints that finds out only after it has started.
		"mute":  {Layers: []string{layer("usr/local/bin/sh", "#!/usr/bin/bash\necho exec /bin/sh: exec format error >&2\nexit 255\n"), "/"}},
		"dying": {Layers: []string{layer("usr/local/bin/sh", "#!/usr/bin/bash\nexit 137\n"), "/"}},
	}
}

// A group that can't start ends the wait as soon as that is certain, with image,
// registry, event, blame and next step. What can't heal is not tried again.
func TestStartFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range startFailures() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Images: failingImages(t), Delays: ecitest.Delays{Pull: tt.pull},
				Faults: ecitest.Faults{Group: func(int) ecitest.GroupFault { return tt.group }}})
			if tt.patient {
				w.config.Timeouts.Ready = 6 * time.Second
			}
			if tt.change != nil {
				tt.change(w)
			}
			changes := map[string]any{}
			if tt.image != "" {
				changes["image"] = map[string]any{"name": tt.image}
			}
			w.job(t, changes)
			log, err := w.prepare(t)
			const end = "\r\x1b[0K\n" // of the section
			closed := strings.HasSuffix(log, end)
			if err == nil {
				closed = strings.Contains(log, end+"Container group ") // that is ready
				// ECI called it running before it died; the first script tells.
				_, err = w.run(t, "build_script", "true")
			}
			t.Logf("%s\nERROR: %v", log, err)
			wantError(t, err, tt.log...)
			if !strings.Contains(err.Error(), " can do: ") && !strings.Contains(err.Error(), "set [helper] image") {
				t.Errorf("no next step in:\n%v", err)
			}
			want := w.env.SystemFailure
			if tt.build {
				want = w.env.BuildFailure
			}
			if status, _ := w.env.ExitStatus(err); status != want {
				t.Errorf("exit status %d, want %d", status, want)
			}
			if !closed {
				t.Errorf("the section is left open:\n%s", log)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
			if tt.build {
				return // the runner does not try again
			}
			w.env.Attempt = "0123abce"
			before := w.calls()["CreateContainerGroup"]
			_, err = w.prepare(t)
			tried := w.calls()["CreateContainerGroup"] > before
			if want := tt.again && !tt.patient; tried != want {
				t.Errorf("another attempt made a call: %v, want %v: %v", tried, want, err)
			}
			if !tried {
				wantError(t, err, append(tt.log, "an earlier attempt failed for good")...)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
