package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
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
[[nas]]
name = "cache"
server = "` + nasServer + `"
path = "/cache"
mount_path = "/cache"
`

// TestDriver runs the scenarios through the driver, in container groups of a
// local ECI.
func TestDriver(t *testing.T) {
	if err := sandbox.Supported(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(newDriverEnv(t, s.concurrent, ecitest.ProfileDocs))
		})
	}
	// The other profiles take a few, for time's sake; pkg/stages takes many.
	for _, s := range scenarios() {
		for _, profile := range []string{ecitest.ProfileKind, ecitest.ProfileHostile} {
			if s.core {
				t.Run(profile+"/"+s.name, func(t *testing.T) {
					t.Parallel()
					s.run(newDriverEnv(t, s.concurrent, profile))
				})
			}
		}
	}
}

// newDriverEnv is an env whose executor is the built driver, with more in its
// file, and a local ECI of that profile. At the end of the test no container group
// may be left.
func newDriverEnv(t *testing.T, concurrent int, profile string, more ...string) *env {
	t.Helper()
	e := newGitLab(t)
	dir := t.TempDir()
	server := startECI(t, strings.TrimPrefix(e.url, "http://"), profile)
	e.cache, e.cacheDir = "/cache", server.NASDir(nasServer, "/cache")
	file := filepath.Join(dir, "eci-executor.toml")
	text := fmt.Appendf(nil, driverFile, server.URL(), filepath.Join(dir, "state"))
	text = append(text, strings.Join(more, "")...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	e.diagnose = append(e.diagnose, func() string { return "API calls:\n" + calls(server) })
	ecitest.LeakCheck(t, server, 10*time.Second) // after the runner's end, which comes first
	log := startRunner(t, dir, runnerConfig{URL: e.url, Concurrent: concurrent, Exec: buildDriver(t), Args: []string{"--config", file}})
	e.diagnose = append(e.diagnose, func() string { return "runner log:\n" + log() })
	return e
}

// startECI serves images above the host's own root; helper has the real runner
// under the name that GitLab's helper image gives it.
func startECI(t *testing.T, forward, profile string) *ecitest.Server {
	t.Helper()
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
	server, err := ecitest.Start(ecitest.Options{
		Dir: t.TempDir(), Forward: []string{forward}, Switches: switches,
		Images: map[string]ecitest.Image{"build:1": build, "helper:1": helper},
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
