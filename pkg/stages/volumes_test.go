package stages_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// tmpfs tells whether the local ECI can bound a volume in memory.
func tmpfs() bool { return os.Geteuid() == 0 }

func (w *world) wantSystemFailure(t *testing.T, err error) {
	t.Helper()
	if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
		t.Errorf("status %d of %v, want that of a system failure", status, err)
	}
}

// EmptyDirs join the containers that they name, for jobs and services of any user,
// whatever ECI makes them like.
func TestVolumes(t *testing.T) {
	t.Parallel()
	for _, profile := range []struct {
		name     string
		switches ecitest.Switches
	}{{"docs", ecitest.Switches{}}, {"closed, all at once", ecitest.Switches{EmptyDirClosed: true, ParallelContainerStart: true}}} {
		t.Run(profile.name, func(t *testing.T) {
			w := newWorld(t, ecitest.Options{Switches: profile.switches})
			w.config.Volumes = []config.Volume{
				{Name: "disk", Type: config.VolumeEmptyDir, MountPath: "/disk", Containers: []string{nasmount.Helper, nasmount.Build}},
				{Name: "ram", Type: config.VolumeEmptyDir, MountPath: "/ram", Medium: "memory", Containers: []string{nasmount.Build}},
				{Name: "socket", Type: config.VolumeEmptyDir, MountPath: "/socket", Containers: []string{nasmount.Build, nasmount.Service}},
			}
			w.job(t, map[string]any{"image": map[string]any{"name": "user:1"}, "services": []map[string]any{{"name": "user:1", "alias": "db",
				"entrypoint": []string{"sh", "-c", `until echo "$0" >/socket/said; do sleep 0.05; done 2>/dev/null; [ -e /disk ] || echo alone >/socket/disk; sleep 300`, "service"}}}})
			w.mustPrepare(t)
			if log, err := w.run(t, "get_sources", "echo helper >/disk/from; ls -d /ram /socket 2>/dev/null; echo done"); err != nil || log != "done\n" {
				t.Errorf("helper: log %q, %v; want neither /ram nor /socket there", log, err)
			}
			log, err := w.run(t, "build_script", `id -u; cat /disk/from
for dir in /disk /ram /socket; do echo x >$dir/written && echo $dir; done
until [ -s /socket/disk ]; do sleep 0.05; done; cat /socket/said /socket/disk`)
			if want := "1000\nhelper\n/disk\n/ram\n/socket\nservice\nalone\n"; err != nil || log != want {
				t.Errorf("build: log %q, %v, want %q", log, err, want)
			}
			w.mustCleanup(t)
		})
	}
}

// EmptyDirs in memory, and so /dev/shm, hold what they are to hold and no more.
func TestVolumeSizes(t *testing.T) {
	if !tmpfs() {
		t.Skip("without root the local ECI can't bound a volume")
	}
	w := newWorld(t, ecitest.Options{})
	w.config.Build.SHMSize = 96 * config.MiB
	w.config.Volumes = []config.Volume{
		{Name: "ram", Type: config.VolumeEmptyDir, MountPath: "/ram", Medium: "memory", Size: 24 * config.MiB, Containers: []string{nasmount.Build}}}
	w.job(t, map[string]any{"image": map[string]any{"name": "user:1"}})
	w.mustPrepare(t)
	log, err := w.run(t, "build_script", `for dir in /dev/shm /ram; do df -k $dir | { read -r _; read -r _ size _; echo $size; }; done
echo x >/dev/shm/x; dd if=/dev/zero of=/ram/full bs=1M count=25 2>/dev/null || stat -c %s /ram/full`)
	if want := "98304\n24576\n25165824\n"; err != nil || log != want {
		t.Errorf("log %q, %v; want %q", log, err, want)
	}
	w.mustCleanup(t)
}

// A bucket is mounted with the options that stand in its table, and what ECI has
// against them, or against the bucket, is told.
func TestOSS(t *testing.T) {
	t.Parallel()
	bucket := config.Volume{Name: "models", Type: config.VolumeOSS, MountPath: "/models", Containers: []string{nasmount.Build},
		Options: config.Params{"bucket": "models", "url": "oss.example", "ramRole": "ci-oss"}}
	world := func(t *testing.T, switches ecitest.Switches, faults ecitest.Faults) *world {
		t.Parallel()
		w := newWorld(t, ecitest.Options{Switches: switches, Faults: faults})
		w.config.Volumes = []config.Volume{bucket}
		w.job(t, map[string]any{"image": map[string]any{"name": "user:1"}})
		return w
	}
	t.Run("mounted", func(t *testing.T) {
		w := world(t, ecitest.Switches{}, ecitest.Faults{})
		file := filepath.Join(w.server.OSSDir("models"), "large")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, file, "weights\n")
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		w.mustPrepare(t)
		if log, err := w.run(t, "build_script", "cat /models/large && echo x >/models/written"); err != nil || log != "weights\n" {
			t.Errorf("log %q, %v", log, err)
		}
		w.mustCleanup(t)
		if _, err := os.Stat(filepath.Join(w.server.OSSDir("models"), "written")); err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
		faults   ecitest.Faults
		says     []string
	}{
		{"its options are refused", ecitest.Switches{OSSOptionsRefused: true}, ecitest.Faults{}, []string{"InvalidParameter", "ramRole is not known"}},
		{"the bucket does not exist", ecitest.Switches{}, ecitest.Faults{}, []string{"the volume models ([[volume]] of type oss) can't be mounted", "NoSuchBucket", "bucket and url in options of its [[volume]]"}},
		{"another client's words", ecitest.Switches{}, faults(t, `group:mount="MountVolume.SetUp failed for volume \"volume-models\": permission denied"`),
			[]string{"the volume models ([[volume]] of type oss) can't be mounted", "permission denied", "that ramRole may use the bucket"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t, tt.switches, tt.faults)
			_, err := w.prepare(t)
			wantError(t, err, tt.says...)
			w.wantSystemFailure(t, err)
			w.mustCleanup(t)
		})
	}
}

// Files of this host come into the containers byte for byte, for jobs of any user to
// read and for none to change.
func TestFilesOfVolumes(t *testing.T) {
	t.Parallel()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	contents := map[string][]byte{
		"settings.xml": []byte("<settings>\n\t$HOME `id` \\n 'quoted' \"twice\" é 日本\n\n</settings>\n"),
		"no-newline":   []byte("password"),
		"empty":        {},
		"blank":        []byte("\n"),
		"ends":         []byte("a\nend of a file of eci-executor\nb\n"),
		"dos.ini":      []byte("a\r\nb\r\n"),
		"keystore.jks": bytes.Repeat(every, 300),
		"latin1":       []byte("caf\xe9\n"),
		".netrc":       []byte("machine example.com\n"),
	}
	dir := t.TempDir()
	files := map[string]string{}
	var want strings.Builder
	for _, name := range []string{".netrc", "blank", "dos.ini", "empty", "ends", "keystore.jks", "latin1", "no-newline", "settings.xml"} {
		files[name] = filepath.Join(dir, "host-"+name)
		write(t, files[name], string(contents[name]))
		fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256(contents[name]), name)
	}
	if len(files) != len(contents) {
		t.Fatal("a file is not looked for")
	}
	for _, transport := range []string{"auto", "sync"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t, ecitest.Options{})
			w.config.Exec.Transport = transport
			w.config.Volumes = []config.Volume{
				{Name: "files", Type: config.VolumeSecret, MountPath: "/etc/ci files", Files: files, Containers: []string{nasmount.Build}},
				{Name: "clone", Type: config.VolumeSecret, MountPath: "/etc/it's $(clone)", Files: map[string]string{"netrc": files[".netrc"]}, Containers: []string{nasmount.Helper}},
			}
			w.job(t, map[string]any{"image": map[string]any{"name": "user:1"}})
			w.mustPrepare(t)
			if log, err := w.run(t, "prepare_script", `cat "/etc/it's "'$(clone)/netrc'`); err != nil || log != string(contents[".netrc"]) {
				t.Errorf("helper: log %q, %v", log, err)
			}
			if log, err := w.run(t, "get_sources", "#!/usr/bin/env bash\necho sources"); err != nil || log != "sources\n" {
				t.Errorf("helper: log %q, %v", log, err)
			}
			log, err := w.run(t, "build_script", `cd "/etc/ci files" && sha256sum $(LC_ALL=C ls -A); { echo x >settings.xml; } 2>/dev/null || { echo x >new; } 2>/dev/null || echo read-only; ls -d /etc/it* 2>/dev/null || true`)
			if err != nil || log != want.String()+"read-only\n" {
				t.Errorf("build: log\n%s%v, want\n%s", log, err, want.String())
			}
			w.mustCleanup(t)
		})
	}
}

// What can't be read is told before anything is asked for, and again where it is lost
// in between.
func TestFilesOfVolumesThatCannotBeRead(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	file := filepath.Join(t.TempDir(), "settings.xml")
	dir := t.TempDir()
	tests := []struct {
		name string
		make func(t *testing.T)
		path string
		want string
	}{
		{"missing", func(*testing.T) {}, file, "no such file or directory"},
		{"directory", func(*testing.T) {}, dir, dir + " is not a file"},
		{"too big", func(t *testing.T) { write(t, file, strings.Repeat("x", 1<<20)) }, file, "is too big: the files of all volumes together may have 1024 KiB"},
	}
	small := filepath.Join(t.TempDir(), "small")
	write(t, small, "x")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.make(t)
			w.config.Volumes = []config.Volume{{Name: "maven", Type: config.VolumeSecret, MountPath: "/etc/maven",
				Files: map[string]string{"a": small, "settings.xml": tt.path}, Containers: []string{nasmount.Build}}}
			_, err := w.prepare(t)
			wantError(t, err, `files."settings.xml" of [[volume]] "maven" in the driver's file: `, tt.want)
			w.wantSystemFailure(t, err)
			if n := w.calls()["CreateContainerGroup"]; n != 0 {
				t.Errorf("%d create calls", n)
			}
		})
	}
	write(t, file, "there\n")
	w.config.Volumes[0].Files = map[string]string{"settings.xml": file}
	w.mustPrepare(t)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, err := w.run(t, "get_sources", "echo sources")
	wantError(t, err, `files."settings.xml" of [[volume]] "maven"`, "no such file or directory")
	w.wantSystemFailure(t, err)
	w.mustCleanup(t)
}
