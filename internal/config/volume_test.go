package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVolumes(t *testing.T) {
	got, err := Parse("f", []byte(minimal+`
[[volume]]
name = "scratch"
type = "empty_dir"
mount_path = "/scratch"
medium = "memory"
size = "1GiB"
containers = ["build", "service"]
[[volume]]
name = "maven"
type = "secret"
mount_path = "/etc/maven"
files = { "settings.xml" = "/etc/eci-executor/settings.xml", ".mvnrc" = "/m" }
[[volume]]
name = "models"
type = "oss"
mount_path = "/models"
options = { bucket = "b", url = "oss.example.com", allow_other = true }
[[volume]]
name = "certs"
type = "empty_dir"
mount_path = "/certs"
`))
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"helper", "build"}
	want := []Volume{
		{Name: "scratch", Type: "empty_dir", MountPath: "/scratch", Medium: "memory", Size: GiB, Containers: []string{"build", "service"}},
		{Name: "maven", Type: "secret", MountPath: "/etc/maven", Containers: both,
			Files: map[string]string{"settings.xml": "/etc/eci-executor/settings.xml", ".mvnrc": "/m"}},
		{Name: "models", Type: "oss", MountPath: "/models", Containers: both,
			Options: Params{"bucket": "b", "url": "oss.example.com", "allow_other": "true"}},
		{Name: "certs", Type: "empty_dir", MountPath: "/certs", Containers: append(both, "service")},
	}
	if diff := cmp.Diff(want, got.Volumes); diff != "" {
		t.Error(diff)
	}
}

// volumeTable is a table of the driver's file, right but for what stands in more.
func volumeTable(name, typ, path, more string) string {
	return fmt.Sprintf("[[volume]]\nname = %q\ntype = %q\nmount_path = %q\n%s\n", name, typ, path, more)
}

// manyVolumes are n tables without a mistake of their own.
func manyVolumes(n int, typ, more string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(volumeTable(fmt.Sprintf("v%d", i), typ, fmt.Sprintf("/v%d", i), more))
	}
	return b.String()
}

func manyNAS(n int, more string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[[nas]]\nname = \"n%d\"\nserver = \"s\"\npath = \"/n%d\"\nmount_path = \"/n%d\"\n%s", i, i, i, more)
	}
	return b.String()
}

func TestVolumeMistakes(t *testing.T) {
	empty := func(path, more string) string { return volumeTable("v", "empty_dir", path, more) }
	secret := func(more string) string { return volumeTable("v", "secret", "/v", more) }
	const oss = "options = { bucket = \"b\", url = \"u\" }"
	nas := "[[nas]]\nname = \"a\"\nserver = \"s\"\npath = \"/a\"\nmount_path = \"/a/b\"\ncontainers = [\"build\"]\n"
	login := "[[registry]]\nserver = \"r\"\nusername = \"u\"\npassword = \"p\"\n"
	shared := "" // one volume, of which jobs write to 15 directories
	for i := range 15 {
		shared += fmt.Sprintf("[[nas]]\nname = \"n%d\"\nserver = \"s\"\npath = \"/\"\nsub_path = \"%d\"\nmount_path = \"/n%d\"\n", i, i, i)
	}
	tests := []struct{ name, text, want string }{
		{"two on one path of services", manyNAS(1, "containers = [\"service\"]\n") + empty("/n0", ""), `"/n0" overlaps mount_path "/n0" of nas 1`},
		{"nothing", "[[volume]]\n", "name: is required"},
		{"no type", "[[volume]]\nname = \"v\"\nmount_path = \"/v\"\n", `volume[0].type: is required: "empty_dir", "secret", "oss"`},
		{"unknown type", volumeTable("v", "pvc", "/v", ""), `volume[0].type: "pvc" must be one of "empty_dir", "secret", "oss"`},
		{"no mount_path", empty("", ""), "volume[0].mount_path: is required"},
		{"name that is no label", volumeTable("V", "empty_dir", "/v", ""), `volume[0].name: "V" must be at most 50 of a-z, 0-9 and -`},
		{"name too long", volumeTable(strings.Repeat("v", 51), "empty_dir", "/v", ""), "must be at most 50"},
		{"name twice", empty("/v", "") + empty("/w", ""), `volume[1].name: "v" is also the name of volume 1`},
		{"relative path", empty("v", ""), `"v" must be an absolute path`},
		{"path with ..", empty("/v/../w", ""), `"/v/../w" must be written "/w"`},
		{"root", empty("/", ""), "must not be /"},
		{"placeholder", empty("/{project_id}", ""), "no placeholder"},
		{"around builds_dir", "builds_dir = \"/v/builds\"\n" + empty("/v", ""), `"/v" overlaps builds_dir "/v/builds"`},
		{"below cache_dir", empty("/cache/v", ""), `"/cache/v" overlaps cache_dir "/cache"`},
		{"/dev/shm", empty("/dev/shm", ""), `overlaps /dev/shm: set shm_size in [build]`},
		{"the driver's own", empty("/.eci/v", ""), "overlaps /.eci, which is reserved"},
		{"/proc", empty("/proc/v", ""), "overlaps /proc, which is reserved"},
		{"around a NAS", nas + empty("/a", ""), `"/a" overlaps mount_path "/a/b" of nas 1`},
		{"registry secret", login + empty("/root", ""), `"/root" overlaps mount_path "/root/.docker" of [registry_secret]`},
		{"another volume", empty("/v", "") + volumeTable("w", "empty_dir", "/v/w", ""), `volume[1].mount_path: "/v/w" overlaps mount_path "/v" of volume 1`},
		{"no containers", empty("/v", "containers = []"), `needs one of "helper", "build", "service" at least`},
		{"unknown container", empty("/v", "containers = [\"pod\"]"), `volume[0].containers[0]: "pod" must be one of "helper", "build", "service"`},
		{"container twice", empty("/v", "containers = [\"build\", \"build\"]"), `"build" is given twice`},
		{"unknown medium", empty("/v", "medium = \"ssd\""), `volume[0].medium: "ssd" must be one of "disk", "memory"`},
		{"size without unit", empty("/v", "size = \"1\""), `volume[0].size: "1" has no unit`},
		{"medium of a secret", secret("medium = \"memory\"\nfiles = { a = \"/a\" }"), `volume[0].medium: goes with type = "empty_dir"`},
		{"size of OSS", volumeTable("v", "oss", "/v", oss+"\nsize = \"1GiB\""), `volume[0].size: goes with type = "empty_dir"`},
		{"files of an EmptyDir", empty("/v", "files = { a = \"/a\" }"), `volume[0].files: goes with type = "secret"`},
		{"options of a secret", secret("options = { a = 1 }\nfiles = { a = \"/a\" }"), `volume[0].options: goes with type = "oss"`},
		{"secret without files", secret(""), "volume[0].files: is required, for instance"},
		{"relative file", secret("files = { a = \"a\" }"), `volume[0].files.a: "a" must be an absolute path`},
		{"file in a directory", secret("files = { \"a/b\" = \"/a\" }"), "volume[0].files.a/b: the name must be at most 253"},
		{"file of the driver's", secret("files = { \"..new\" = \"/a\" }"), `not begin with ".."`},
		{"quoted file", secret("files = { \"a'b\" = \"/a\" }"), "the name must be at most 253"},
		{"OSS without a bucket", volumeTable("v", "oss", "/v", "options = { url = \"u\" }"), "volume[0].options.bucket: is required"},
		{"OSS without a url", volumeTable("v", "oss", "/v", "options = { bucket = \"b\" }"), "volume[0].options.url: is required"},
		{"OSS with a key", volumeTable("v", "oss", "/v", "options = { bucket = \"b\", url = \"u\", akSecret = \"hunter2\" }"), "volume[0].options.akSecret: would be shown by every look at the group; give ramRole instead"},
		{"too many", manyVolumes(17, "oss", oss), "volume[16]: a group would have 21 volumes, and ECI takes 20: 4 of the driver's own, 0 of [[nas]], 17 of [[volume]]"},
		{"too many with NAS, secret and shm", login + "[build]\nshm_size = \"1GiB\"\n" + manyNAS(10, "") + manyVolumes(5, "oss", oss), "volume[4]: a group would have 21 volumes, and ECI takes 20: 6 of the driver's own, 10 of [[nas]]"},
		{"too many without a volume", login + "[build]\nshm_size = \"1GiB\"\n" + manyNAS(15, ""), "nas: a group would have 21 volumes"},
		{"too many to open", shared + manyVolumes(2, "empty_dir", ""), "volume[1]: is directory 17, with those of [[nas]], that jobs may write to, and there is room for 16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(minimal+tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if tt.name != "nothing" && strings.Contains(err.Error(), "\n") {
				t.Errorf("one mistake makes several errors:\n%v", err)
			}
		})
	}
}

func TestVolumesThatAreRight(t *testing.T) {
	tests := []struct{ name, text string }{
		{"names like the driver's volumes", volumeTable("builds", "empty_dir", "/v", "") + volumeTable("control", "empty_dir", "/w", "")},
		{"one path in two containers", volumeTable("a", "empty_dir", "/v", "containers = [\"helper\"]") + volumeTable("b", "empty_dir", "/v", "containers = [\"build\"]")},
		{"beside a NAS of another container", manyNAS(1, "containers = [\"helper\"]\n") + volumeTable("v", "empty_dir", "/n0", "containers = [\"build\"]")},
		{"where a registry secret would be", volumeTable("v", "secret", "/root/.docker", "files = { \"config.json\" = \"/c\" }")},
		{"beside the registry secret, in helper", "[[registry]]\nserver = \"r\"\nusername = \"u\"\npassword = \"p\"\n" + volumeTable("v", "empty_dir", "/root", "containers = [\"helper\"]")},
		{"whatever goes into services", volumeTable("s", "secret", "/s", "files = { a = \"/a\" }\ncontainers = [\"service\"]") +
			volumeTable("o", "oss", "/o", "options = { bucket = \"b\", url = \"u\" }\ncontainers = [\"build\", \"service\"]") + manyNAS(1, "containers = [\"service\"]\n")},
		{"one path in build and in services", volumeTable("a", "secret", "/v", "files = { a = \"/a\" }\ncontainers = [\"service\"]") + volumeTable("b", "oss", "/v", "options = { bucket = \"b\", url = \"u\" }")},
		{"as many as there can be", manyVolumes(16, "empty_dir", "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse("f", []byte(minimal+tt.text)); err != nil {
				t.Error(err)
			}
		})
	}
}
