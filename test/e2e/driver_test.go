package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// nasServer is the mount target of the tests.
const nasServer = "nas-1.ap-northeast-1.nas.aliyuncs.com"

const driverFile = `region = "ap-northeast-1"
endpoint = %q
state_dir = %q
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "build:1"
[helper]
image = "helper:1"
`

// cacheOnNAS is the part of a driver's file that keeps /cache.
const cacheOnNAS = `[[nas]]
name = "cache"
server = "` + nasServer + `"
path = "/cache"
mount_path = "/cache"
`

// TestDriver runs the scenarios through the driver, in container groups of a
// local ECI.
func TestDriver(t *testing.T) {
	needContainers(t)
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(newDriverEnv(t, driverSetup{concurrent: s.concurrent}))
		})
	}
	// The other profiles take a few, for time's sake; pkg/stages takes many.
	for _, s := range scenarios() {
		for _, profile := range []string{ecitest.ProfileKind, ecitest.ProfileHostile} {
			if s.core {
				t.Run(profile+"/"+s.name, func(t *testing.T) {
					t.Parallel()
					s.run(newDriverEnv(t, driverSetup{concurrent: s.concurrent, profile: profile}))
				})
			}
		}
		if s.core {
			t.Run("without a WebSocket/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.run(newDriverEnv(t, driverSetup{concurrent: s.concurrent, profile: ecitest.ProfileHostile, file: "[exec]\ntransport = \"sync\"\n"}))
			})
		}
	}
}

// needContainers skips a test where containers can't run.
func needContainers(t *testing.T) {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
}

// driverSetup is what differs between the environments of tests of the driver.
type driverSetup struct {
	concurrent int
	profile    string // of the local ECI, "" = docs
	keys       string // more keys of the driver's file, ...
	file       string // ... and more tables of it
	grace      int    // the runner's graceful_kill_timeout in seconds, 0 = 60
	secure     bool   // GitLab has an https URL and a CA of its own
	noCache    bool   // no NAS is at /cache

	runnerKeys, runnerTables string                   // more of the runner's file, as runnerConfig has it
	images                   map[string]ecitest.Image // more of them
	forward                  []string                 // addresses of this machine that containers reach, beside GitLab's
}

// newDriverEnv is an env whose executor is the built driver, and a local ECI. A
// witness notes which stages the runner calls: see stagesOf. At the end of the test
// no container group may be left.
func newDriverEnv(t *testing.T, setup driverSetup) *env {
	t.Helper()
	e := newGitLab(t, setup.secure)
	dir := t.TempDir()
	e.server = startECI(t, append(setup.forward, e.address()), setup.profile, setup.images)
	e.cache, e.cacheDir = "/cache", e.server.NASDir(nasServer, "/cache")
	file := filepath.Join(dir, "eci-executor.toml")
	text := setup.keys + fmt.Sprintf(driverFile, e.server.URL(), filepath.Join(dir, "state"))
	if !setup.noCache {
		text += cacheOnNAS
	}
	if err := os.WriteFile(file, []byte(text+setup.file), 0o600); err != nil {
		t.Fatal(err)
	}
	e.diagnose = append(e.diagnose, func() string { return "API calls:\n" + calls(e.server) })
	ecitest.LeakCheck(t, e.server, time.Minute) // after the runner's end, which comes first
	witness, err := filepath.Abs(filepath.Join("testdata", "witness.sh"))
	if err != nil {
		t.Fatal(err)
	}
	e.witnessed = t.TempDir()
	e.startRunner(dir, runnerConfig{
		Concurrent: setup.concurrent, Grace: setup.grace, Keys: setup.runnerKeys, Tables: setup.runnerTables,
		Exec: witness, Args: []string{e.witnessed, buildDriver(t), "--config", file},
	})
	return e
}

// stagesOf are the stages and sub-stages that the runner called for a job, in order,
// each with "=STATUS" where it did not end with 0: "=2", or "=killed" where it did not
// end by itself.
func (e *env) stagesOf(id int64) string {
	e.Helper()
	content, err := os.ReadFile(filepath.Join(e.witnessed, fmt.Sprint(id)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a job that was not begun has none
		e.Fatal(err)
	}
	var stages []string
	for line := range strings.Lines(string(content)) {
		switch fields := strings.Fields(line); {
		case len(fields) == 2:
			stages = append(stages, fields[1]+"=killed")
		case fields[2] == "0":
			stages[len(stages)-1] = fields[1]
		default:
			stages[len(stages)-1] = fields[1] + "=" + fields[2]
		}
	}
	return strings.Join(stages, " ")
}

const busybox = "/usr/bin/busybox"

// startECI serves images above the host's own root; helper has the real runner
// under the name that GitLab's helper image gives it.
func startECI(t *testing.T, forward []string, profile string, more map[string]ecitest.Image) *ecitest.Server {
	t.Helper()
	if profile == "" {
		profile = ecitest.ProfileDocs
	}
	switches, err := ecitest.Profile(profile)
	if err != nil {
		t.Fatal(err)
	}
	build, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	helper, err := ecitest.HostImage(top)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(top, "usr", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(buildRunner(t), filepath.Join(bin, "gitlab-runner-helper")); err != nil {
		if err := copyFile(buildRunner(t), filepath.Join(bin, "gitlab-runner-helper")); err != nil {
			t.Fatal(err)
		}
	}
	images := map[string]ecitest.Image{"build:1": build, "helper:1": helper, "busybox:1": toolsImage(t, busybox)}
	maps.Copy(images, more)
	server, err := ecitest.Start(ecitest.Options{
		Dir: t.TempDir(), Forward: forward, Switches: switches, Images: images,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// toolsImage has no bash on PATH, shell as sh, and some of busybox's tools.
func toolsImage(t *testing.T, shell string) ecitest.Image {
	t.Helper()
	top := t.TempDir()
	image, err := ecitest.HostImage(top)
	if err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(top, "opt", "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"sh": shell, "cat": busybox, "mkdir": busybox, "rm": busybox, "sleep": busybox, "setsid": busybox,
	} {
		if err := os.Symlink(target, filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	image.Env = []string{"PATH=/opt/tools"}
	return image
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

func calls(server *ecitest.Server) string {
	var b strings.Builder
	for _, c := range server.Calls() {
		fmt.Fprintf(&b, "%s %s %d %s %s\n", c.Time.Format("15:04:05.000"), c.Action, c.HTTPStatus, c.Code, c.Duration)
	}
	return b.String()
}
