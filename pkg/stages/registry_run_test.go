package stages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

const registryPassword = "of-the-registry"

// authedWorld has a registry that wants a login, and groups that reach it.
func authedWorld(t *testing.T) (*world, *testimage.Registry) {
	t.Helper()
	registry := testimage.NewRegistry(t, false, "ci", registryPassword)
	w := newWorld(t, ecitest.Options{Pull: true, Forward: []string{registry.Host}})
	w.config.Pull.PlainHTTP = []string{registry.Host}
	return w, registry
}

// A private image is pulled with the login of whoever has one; a wrong one is named
// in the log with its registry and with where it came from.
func TestPrivateImage(t *testing.T) {
	t.Parallel()
	const wrong = "wrong-password"
	tests := []struct {
		name                  string
		author, operator, own string // passwords in DOCKER_AUTH_CONFIG, [[registry]] and the job's credentials
		blame                 string // "" where the image is pulled
	}{
		{"the author's", registryPassword, "", "", ""},
		{"the operator's", "", registryPassword, "", ""},
		{"the job's own", "", "", registryPassword, ""},
		{"the author's wins", registryPassword, wrong, wrong, ""},
		{"the author's is wrong", wrong, registryPassword, registryPassword, "in the variable DOCKER_AUTH_CONFIG"},
		{"the operator's is wrong", "", wrong, registryPassword, "the [[registry]] for "},
		{"the job's own is wrong", "", "", wrong, "with its job token"},
		{"nobody has one", "", "", "", "put a login for "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, registry := authedWorld(t)
			image := registry.Push(t, "team/app:1", testimage.Busybox(t, map[string]string{"/etc/motd": "private\n"}, nil))
			job := map[string]any{"image": map[string]any{"name": image}}
			if tt.author != "" {
				auths := fmt.Sprintf(`{"auths":{%q:{"username":"ci","password":%q}}}`, registry.Host+"/team", tt.author)
				job["variables"] = []map[string]any{{"key": "DOCKER_AUTH_CONFIG", "value": auths}}
			}
			if tt.operator != "" {
				w.config.Registries = []config.Registry{{Server: registry.Host, Username: "ci", Password: config.Secret(tt.operator)}}
			}
			if tt.own != "" {
				job["credentials"] = []map[string]string{{"type": "registry", "url": registry.Host, "username": "ci", "password": tt.own}}
			}
			w.job(t, job)
			out, err := w.prepare(t)
			switch {
			case tt.blame != "":
				wantError(t, err, registry.Host, tt.blame, "container build can't be pulled")
				holdsNone(t, "the log", out+err.Error(), []string{registryPassword, wrong})
			case err != nil:
				t.Errorf("%v\n%s", err, out)
			default:
				if log, err := w.run(t, "step_script", "cat /etc/motd"); err != nil || !strings.HasSuffix(log, "private\n") {
					t.Errorf("the image says %q, %v", log, err)
				}
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Registries without TLS, and those whose certificate nobody knows, are spoken to where
// the driver's file names them, by the login for them, and nowhere else.
func TestInsecureRegistries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		tls       bool
		configure func(p *config.Pull, host string)
		refused   string // the runtime's words; "" where the image is pulled
	}{
		{"plain HTTP", false, func(p *config.Pull, host string) { p.PlainHTTP = []string{host} }, ""},
		{"plain HTTP that is not named", false, func(*config.Pull, string) {}, "server gave HTTP response to HTTPS client"},
		{"plain HTTP that is named insecure", false, func(p *config.Pull, host string) { p.Insecure = []string{host} }, "server gave HTTP response to HTTPS client"},
		{"unknown certificate", true, func(p *config.Pull, host string) { p.Insecure = []string{host} }, ""},
		{"unknown certificate that is not named", true, func(*config.Pull, string) {}, "certificate"},
		{"another one is named", true, func(p *config.Pull, _ string) { p.Insecure = []string{"other.example.com:5000"} }, "certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			registry := testimage.NewRegistry(t, tt.tls, "ci", registryPassword)
			w := newWorld(t, ecitest.Options{Pull: true})
			tt.configure(&w.config.Pull, registry.Host)
			w.config.Registries = []config.Registry{{Server: registry.Host, Username: "ci", Password: registryPassword}}
			image := registry.Push(t, "team/app:1", testimage.Busybox(t, map[string]string{"/etc/motd": "pulled\n"}, nil))
			w.job(t, map[string]any{"image": map[string]any{"name": image}})
			out, err := w.prepare(t)
			switch {
			case tt.refused != "":
				wantError(t, err, "container build can't be pulled", tt.refused, registry.Host)
			case err != nil:
				t.Errorf("%v\n%s", err, out)
			default:
				if log, err := w.run(t, "step_script", "cat /etc/motd"); err != nil || !strings.HasSuffix(log, "pulled\n") {
					t.Errorf("the image says %q, %v", log, err)
				}
			}
			w.mustCleanup(t)
		})
	}
}

// A job pushes an image without a daemon, with the registry secret.
func TestImagePushedFromAJob(t *testing.T) {
	t.Parallel()
	w, registry := authedWorld(t)
	w.config.Registries = []config.Registry{{Server: registry.Host, Username: "ci", Password: registryPassword}}
	push := filepath.Join(w.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), "push")
	build := exec.Command("go", "build", "-o", push, "./testdata/push")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := w.run(t, "get_sources", "echo content >/builds/file"); err != nil {
		t.Fatal(err)
	}
	if log, err := w.run(t, "step_script", "/cache/push "+registry.Host+"/team/out:1 /builds/file"); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	pushed := slices.ContainsFunc(registry.Requests(), func(r testimage.Request) bool {
		return r.Method == "PUT" && strings.HasSuffix(r.Path, "/team/out/manifests/1") && r.Username == "ci" && r.Password == registryPassword
	})
	if !pushed {
		t.Errorf("nothing was pushed: %v", registry.Requests())
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// An image of the hub comes through the mirror that the driver's file names for it.
func TestImageThroughAMirror(t *testing.T) {
	t.Parallel()
	w, registry := authedWorld(t)
	registry.Push(t, "hub/app:1", testimage.Busybox(t, map[string]string{"/etc/motd": "mirrored\n"}, nil))
	w.config.Pull.Mirrors = map[string]string{"docker.io/team/": registry.Host + "/hub/"}
	w.config.Registries = []config.Registry{{Server: registry.Host, Username: "ci", Password: registryPassword}}
	w.job(t, map[string]any{"image": map[string]any{"name": "team/app:1"}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if log, err := w.run(t, "step_script", "cat /etc/motd"); err != nil || !strings.HasSuffix(log, "mirrored\n") {
		t.Errorf("the image says %q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
