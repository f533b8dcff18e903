package stages_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// everywhere are all containers of a job.
func everywhere() []string { return []string{nasmount.Helper, nasmount.Build, nasmount.Service} }

// onNAS puts a file on a NAS, as somebody else would have.
func (w *world) onNAS(t *testing.T, dir, name, text string) {
	t.Helper()
	on := w.server.NASDir(nasServer, dir)
	if err := os.MkdirAll(on, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(on, name), []byte(text), 0o644); err != nil { //nolint:gosec // for jobs of any user
		t.Fatal(err)
	}
}

// bucket makes a bucket of OSS with a file.
func (w *world) bucket(t *testing.T, bucket, name, text string) {
	t.Helper()
	if err := os.MkdirAll(w.server.OSSDir(bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.server.OSSDir(bucket), name), []byte(text), 0o644); err != nil { //nolint:gosec // for jobs of any user
		t.Fatal(err)
	}
}

// looksAround is a service that waits for a file of the runner's host, and tells what it
// finds and where it may write.
const looksAround = `until [ -e /etc/svc/conf ]; do sleep 0.05; done
id -u; cat /etc/svc/conf /tools/version /models/weights
for dir in /cache /data /tools /etc/svc; do { echo service >$dir/from-service; } 2>/dev/null || echo "$dir is not for writing"; done
ls -A /.eci 2>/dev/null || echo "no scripts here"
echo done; exec sleep 600`

// Services of any user have whatever volumes name them, files of this host too once
// the job's first script has begun, and never what carries the job's scripts.
func TestServiceMounts(t *testing.T) {
	t.Parallel()
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			switches.OSSOptionsRefused = false // else no group is made
			w := newWorld(t, ecitest.Options{Switches: switches})
			w.onNAS(t, "/tools", "version", "tools of the NAS\n")
			w.onNAS(t, "/tools", "serve", looksAround)
			w.bucket(t, "models", "weights", "weights of the bucket\n")
			file := filepath.Join(t.TempDir(), "conf")
			write(t, file, "setting of this host\n")
			w.config.NAS = []nasmount.Mount{
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath, m.Containers = "cache", "/cache", "/cache", everywhere()
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath, m.ReadOnly, m.Containers = "tools", "/tools", "/tools", true, []string{nasmount.Service}
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath, m.Containers = "data", "/data", "/data", []string{nasmount.Service}
				}),
				nasTable(func(m *nasmount.Mount) { m.Name, m.Path, m.MountPath = "builds", "/builds/{concurrent_id}", "/builds" }),
			}
			w.config.Volumes = []config.Volume{
				{Name: "conf", Type: config.VolumeSecret, MountPath: "/etc/svc", Files: map[string]string{"conf": file}, Containers: []string{nasmount.Service}},
				{Name: "models", Type: config.VolumeOSS, MountPath: "/models", Containers: everywhere(),
					Options: config.Params{"bucket": "models", "url": "oss-ap-northeast-1-internal.aliyuncs.com", "ramRole": "ci-oss"}},
			}
			w.job(t, map[string]any{"services": []map[string]any{{"name": "user:1", "alias": "db", "entrypoint": []string{"sh", "/tools/serve"}}}})
			w.mustPrepare(t)
			if log, err := w.run(t, "get_sources", "[ -e /etc/svc ] || echo none; echo helper >>/cache/from-helper"); err != nil || log != "none\n" {
				t.Errorf("helper: log %q, %v", log, err)
			}
			want := "1000\nsetting of this host\ntools of the NAS\nweights of the bucket\n/tools is not for writing\n/etc/svc is not for writing\nno scripts here\ndone\n"
			if got := w.serviceLog(t, "db", "done\n"); got != want {
				t.Errorf("the service says %q, want %q", got, want)
			}
			log, err := w.run(t, "step_script", "cat /cache/from-helper /cache/from-service; ls -d /etc/svc /tools /data 2>/dev/null; cat /models/weights")
			if want := "helper\nservice\nweights of the bucket\n"; err != nil || log != want {
				t.Errorf("build: log %q, %v, want %q", log, err, want)
			}
			w.mustCleanup(t)
		})
	}
}
