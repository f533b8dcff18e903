package stages_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

const nasServer = "nas-1.ap-northeast-1.nas.aliyuncs.com"

// nasTable is a table of the driver's file.
func nasTable(change func(m *nasmount.Mount)) nasmount.Mount {
	m := nasmount.Default()
	m.Server = nasServer
	change(&m)
	return m
}

// A job of any user writes to directories that were made for it, wherever they are
// mounted, and to none that is not for writing.
func TestNASOfANonRootJob(t *testing.T) {
	t.Parallel()
	for _, profile := range []struct {
		name     string
		switches ecitest.Switches
	}{
		{"docs", ecitest.Switches{}},
		{"all at once, open", ecitest.Switches{ParallelContainerStart: true, MissingSubPath: ecitest.SubPathOpen}},
	} {
		t.Run(profile.name, func(t *testing.T) {
			w := newWorld(t, ecitest.Options{Switches: profile.switches})
			w.config.NAS = []nasmount.Mount{
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath = "cache", "/cache/{project_path}", "/cache"
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.SubPath, m.MountPath, m.Containers = "m2", "/java", "m2/{project_id}", "/m2", []string{nasmount.Build}
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.SubPath, m.MountPath = "gradle", "/java", "gradle", "/gradle"
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath, m.ReadOnly = "tools", "/tools", "/tools", true
				}),
				nasTable(func(m *nasmount.Mount) {
					m.Name, m.Path, m.MountPath = "builds", "/builds/{concurrent_id}", "/builds"
				}),
			}
			w.job(t, map[string]any{"image": map[string]any{"name": "user:1"},
				"services": []map[string]any{{"name": "host", "alias": "db", "entrypoint": []string{"sleep", "300"}}}})
			w.mustPrepare(t)
			if log, err := w.run(t, "get_sources", "echo cloned >/builds/file; [ -e /m2 ] || echo none"); err != nil || log != "none\n" {
				t.Errorf("helper: log %q, %v; want no /m2 there", log, err)
			}
			log, err := w.run(t, "build_script", `id -u; cat /builds/file
for dir in /builds /cache /m2 /gradle /tools; do { echo x >$dir/written; } 2>/dev/null && echo $dir; done; exit 0`)
			if want := "1000\ncloned\n/builds\n/cache\n/m2\n/gradle\n"; err != nil || log != want {
				t.Errorf("log %q, %v, want %q", log, err, want)
			}
			for _, dir := range []string{"/cache/group/app", "/java/m2/7", "/java/gradle"} {
				if _, err := os.Stat(filepath.Join(w.server.NASDir(nasServer, dir), "written")); err != nil {
					t.Error(err)
				}
			}
			w.mustCleanup(t)
		})
	}
}

// Where ECI makes no missing sub_path, the job fails at once, for good and with what to
// do; once the directory is there all is well.
func TestMissingSubPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{MissingSubPath: ecitest.SubPathRefused}, Delays: ecitest.Delays{Restart: time.Hour}})
	w.config.NAS = []nasmount.Mount{nasTable(func(m *nasmount.Mount) {
		m.Name, m.Path, m.SubPath, m.MountPath = "m2", "/java", "m2/{project_id}", "/m2"
	})}
	_, err := w.prepare(t)
	wantError(t, err, "container helper can't be started: a sub_path can't be mounted",
		`ECI says: failed to prepare subPath for volumeMount "nas-m2" of container "helper"`,
		"make its directory on the file system", "m2 (m2/{project_id} of /java)")
	w.wantSystemFailure(t, err)
	w.mustCleanup(t)
	_, again := w.prepare(t)
	wantError(t, again, "an earlier attempt failed for good")

	if err := os.MkdirAll(w.server.NASDir(nasServer, "/java/m2/7"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.job(t, map[string]any{"id": 43})
	w.mustPrepare(t)
	if log, err := w.run(t, "build_script", "echo x >/m2/written && echo done"); err != nil || log != "done\n" {
		t.Errorf("log %q, %v", log, err)
	}
	w.mustCleanup(t)
}

// A NAS on builds_dir is shared by the jobs that come there one after the other.
func TestConfigureWithCheckoutsOnNAS(t *testing.T) {
	cfg := config.Default()
	shared := func() bool {
		t.Helper()
		var out bytes.Buffer
		if err := stages.Configure(cfg, "1", &out); err != nil {
			t.Fatal(err)
		}
		var document struct {
			Shared *bool `json:"builds_dir_is_shared"`
		}
		if err := json.Unmarshal(out.Bytes(), &document); err != nil || document.Shared == nil {
			t.Fatalf("%s, %v", out.String(), err)
		}
		return *document.Shared
	}
	cfg.NAS = []nasmount.Mount{nasTable(func(m *nasmount.Mount) { m.MountPath = "/cache" })}
	if shared() {
		t.Error("builds_dir is said to be shared without a NAS on it")
	}
	cfg.NAS[0].MountPath = cfg.BuildsDir
	if !shared() {
		t.Error("builds_dir on a NAS is not said to be shared")
	}
}
