package stages_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// A pull that fails by one policy is tried by the next one, in another group.
func TestPullPoliciesInTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Group: func(n int) ecitest.GroupFault {
		if n == 0 {
			return ecitest.GroupFault{Pull: map[string]string{"host": "dial tcp 203.0.113.7:443: i/o timeout"}}
		}
		return ecitest.GroupFault{}
	}}})
	w.job(t, map[string]any{"image": map[string]any{"name": "host", "pull_policy": []string{"always", "if-not-present"}}})
	out, err := w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var policies []string
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" {
			policies = append(policies, c.All().Get("Container.2.ImagePullPolicy"))
		}
	}
	if strings.Join(policies, " ") != "Always IfNotPresent" || !strings.Contains(out, "Trying again with the pull policy IfNotPresent for build") {
		t.Errorf("policies %v\n%s", policies, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// The image's entrypoint is passed by, unless the job wants it to be honoured.
func TestEntrypoint(t *testing.T) {
	t.Parallel()
	image, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	if err := os.WriteFile(filepath.Join(top, "entry"), []byte("#!/bin/sh\nexport ENTERED=\"$0 $1\"\n[ \"$1\" = --quiet ] && shift\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	image.Layers = append([]string{top}, image.Layers...)
	image.Entrypoint, image.Cmd = []string{"/entry"}, []string{"of the image"}
	tests := []struct {
		name       string
		flag       string
		entrypoint []string
		want       string
	}{
		{"passed by", "false", nil, "\n"},
		{"the job's passed by too", "false", []string{"/entry"}, "\n"},
		{"the image's own", "true", nil, "/entry sh\n"},
		{"the job's", "true", []string{"/entry", "--quiet"}, "/entry --quiet\n"},
		{"none", "true", []string{""}, "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Images: map[string]ecitest.Image{"entry:1": image}})
			w.job(t, map[string]any{"image": map[string]any{"name": "entry:1", "entrypoint": tt.entrypoint},
				"variables": []map[string]any{{"key": "FF_KUBERNETES_HONOR_ENTRYPOINT", "value": tt.flag}}})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if log, err := w.run(t, "step_script", "echo $ENTERED"); err != nil || log != tt.want {
				t.Errorf("log %q, %v, want %q", log, err, tt.want)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An entrypoint that does not run what it is given ends the wait with the reason.
func TestEntrypointThatEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"image": map[string]any{"name": "host", "entrypoint": []string{"sh", "-c", "echo wrong >&2; exit 9"}},
		"variables": []map[string]any{{"key": "FF_KUBERNETES_HONOR_ENTRYPOINT", "value": "1"}}})
	_, err := w.prepare(t)
	if err == nil { // it ended after prepare had seen it run
		_, err = w.run(t, "step_script", "true")
	}
	wantError(t, err, "exit code 9", "wrong")
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// kanikoImage has a shell in a place of its own and nothing else.
func kanikoImage(t *testing.T) ecitest.Image {
	t.Helper()
	root := t.TempDir()
	program, err := os.ReadFile("/usr/bin/busybox")
	testneed.Need(t, err)
	for _, name := range []string{"sh", "cat", "sleep"} {
		path := filepath.Join(root, "busybox", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return ecitest.Image{Layers: []string{root}, Env: []string{"PATH=/busybox"}}
}

// What an image says of its user, directory and PATH holds in build.
func TestImagesOfBuild(t *testing.T) {
	t.Parallel()
	host, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := host
	elsewhere.WorkingDir = "/srv/work"
	user := elsewhere
	user.User = "1000:1000"
	tests := []struct {
		name   string
		image  ecitest.Image
		user   string // that the job asks for
		script string
		want   string
	}{
		{"sh under an odd PATH", kanikoImage(t), "", "echo $PATH; cat </dev/null; exit 0", "/busybox\n"},
		{"WORKDIR", elsewhere, "", "pwd", "/srv/work\n"},
		{"WORKDIR of another user", user, "", "pwd; id -u; id -g", "/srv/work\n1000\n1000\n"},
		{"a user of the job's", user, "12345:100", "id -u; id -g; touch /builds/its", "12345\n100\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Images: map[string]ecitest.Image{"odd:1": tt.image}})
			w.config.Allow.Users = []string{"12345:100"}
			w.job(t, map[string]any{"image": map[string]any{"name": "odd:1", "executor_opts": map[string]any{"kubernetes": map[string]any{"user": tt.user}}}})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if log, err := w.run(t, "step_script", tt.script); err != nil || log != tt.want {
				t.Errorf("log %q, %v, want %q", log, err, tt.want)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Helper, which is root, and build, whatever its user, write in each other's files,
// and git is content with the checkout in both.
func TestFilesOfHelperAndBuild(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"host", "user:1"} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.job(t, map[string]any{"image": map[string]any{"name": image}})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, s := range []struct{ stage, script, want string }{
				{"get_sources", "git init -q /builds/app && mkdir /builds/app/dir && echo helper >/builds/app/dir/file", ""},
				{"step_script", "cd /builds/app && echo build >>dir/file && mkdir target && echo made >target/file && git status --short", "?? dir/\n?? target/\n"},
				{"archive_cache", "cd /builds/app && cat dir/file && echo helper >>target/file && rm dir/file && git status --short", "helper\nbuild\n?? target/\n"},
				{"after_script", "cat /builds/app/target/file && rm -r /builds/app/target", "made\nhelper\n"},
			} {
				if log, err := w.run(t, s.stage, "set -e\n"+s.script); err != nil || log != s.want {
					t.Errorf("%s: log %q, %v, want %q", s.stage, log, err, s.want)
				}
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
