package nasmount

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const (
	server        = "abc.ap-northeast-1.nas.aliyuncs.com"
	extremeServer = "abc.cn-hangzhou.extreme.nas.aliyuncs.com"
)

// table is a good mount, changed by change.
func table(change func(*Mount)) Mount {
	m := Default()
	m.Name, m.Server, m.Path, m.MountPath = "cache", server, "/ci/cache", "/cache"
	if change != nil {
		change(&m)
	}
	return m
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		mounts []Mount
		want   []string // one line for each mistake
	}{
		{"none", nil, nil},
		{"good", []Mount{table(nil)}, nil},
		{"root of the file system", []Mount{table(func(m *Mount) { m.Path = "/" })}, nil},
		{"placeholders", []Mount{table(func(m *Mount) { m.Path = "/ci/{project_id}/{ref_protected}" })}, nil},
		{"no containers means both", []Mount{table(func(m *Mount) { m.Containers = nil })}, nil},
		{"nested, in different containers", []Mount{
			table(func(m *Mount) { m.Containers = []string{Helper} }),
			table(func(m *Mount) { m.Name, m.MountPath, m.Containers = "b", "/cache/b", []string{Build} }),
		}, nil},
		{"name beside a prefix of it", []Mount{
			table(nil),
			table(func(m *Mount) { m.Name, m.MountPath = "b", "/cache2" }),
		}, nil},
		{"extreme under share", []Mount{table(func(m *Mount) { m.Server, m.Path = extremeServer, "/share/ci" })}, nil},
		{"all missing, told at once", []Mount{{}}, []string{
			"nas 1: name: is required",
			"nas 1: server: is required",
			"nas 1: path: is required; / is the root of the file system",
			"nas 1: mount_path: is required",
		}},
		{"name with capitals", []Mount{table(func(m *Mount) { m.Name = "Cache" })},
			[]string{`nas 1: name: "Cache" must be at most 59 of a-z, 0-9 and -, with no - at either end`}},
		{"name twice", []Mount{table(nil), table(func(m *Mount) { m.MountPath = "/m2" })},
			[]string{`nas 2: name: "cache" is also the name of table 1`}},
		{"server with scheme", []Mount{table(func(m *Mount) { m.Server = "nfs://" + server })},
			[]string{`nas 1: server: "nfs://` + server + `" must be the host alone, without scheme`}},
		{"server with path", []Mount{table(func(m *Mount) { m.Server = "a.com:/x" })},
			[]string{`nas 1: server: "a.com:/x" must be the host of a mount target, without port or path`}},
		{"relative paths", []Mount{table(func(m *Mount) { m.Path, m.MountPath = "ci", "cache" })},
			[]string{`nas 1: path: "ci" must be absolute`, `nas 1: mount_path: "cache" must be absolute`}},
		{"dots", []Mount{table(func(m *Mount) { m.Path = "/ci/../other" })},
			[]string{`nas 1: path: "/ci/../other" must not contain ..`}},
		{"trailing slash", []Mount{table(func(m *Mount) { m.MountPath = "/cache/" })},
			[]string{`nas 1: mount_path: "/cache/" must be written "/cache"`}},
		{"newline", []Mount{table(func(m *Mount) { m.Path = "/a\nb" })},
			[]string{`nas 1: path: "/a\nb" has a control character`}},
		{"concurrent id", []Mount{table(func(m *Mount) { m.Path = "/ci/{concurrent_id}" })}, nil},
		{"sub paths of one volume", []Mount{
			table(func(m *Mount) { m.SubPath = "cache" }),
			table(func(m *Mount) { m.Name, m.SubPath, m.MountPath = "b", "m2/{project_id}", "/m2" }),
		}, nil},
		{"sub path", []Mount{
			table(func(m *Mount) { m.SubPath = "/cache" }),
			table(func(m *Mount) { m.Name, m.MountPath, m.SubPath = "b", "/b", "../b" }),
			table(func(m *Mount) { m.Name, m.MountPath, m.SubPath = "c", "/c", "c/" }),
			table(func(m *Mount) { m.Name, m.MountPath, m.SubPath = "d", "/d", "{user}" }),
		}, []string{
			`nas 1: sub_path: "/cache" must be relative: it lies below path`,
			`nas 2: sub_path: "../b" must not contain ..`,
			`nas 3: sub_path: "c/" must be written "c"`,
			"nas 4: sub_path: {user} is no placeholder; there are {project_path}, {project_id}, {ref_protected}, {concurrent_id}",
		}},
		{"on builds_dir", []Mount{table(func(m *Mount) { m.Path, m.MountPath = "/ci/{concurrent_id}", "/builds" })}, nil},
		{"on builds_dir by sub path", []Mount{table(func(m *Mount) { m.SubPath, m.MountPath = "{ref_protected}/{concurrent_id}", "/builds" })}, nil},
		{"on builds_dir, but not so that jobs can be checked out", []Mount{table(func(m *Mount) {
			m.Path, m.MountPath, m.ReadOnly, m.Containers = "/ci/{project_id}", "/builds", true, []string{Build}
		})}, []string{
			"nas 1: containers: must be both helper and build for builds_dir",
			"nas 1: read_only: must be false for builds_dir",
			`nas 1: path: "/ci/{project_id}" needs {concurrent_id} for builds_dir, so that no two jobs are checked out into one directory`,
		}},
		{"more than there is room for", crowd(Most + 2), []string{"nas 16: name: is that of table 16, and ECI has room for 15"}},
		{"unknown placeholder", []Mount{table(func(m *Mount) { m.Path = "/ci/{branch}" })},
			[]string{"nas 1: path: {branch} is no placeholder; there are {project_path}, {project_id}, {ref_protected}, {concurrent_id}"}},
		{"open brace", []Mount{table(func(m *Mount) { m.Path = "/ci/{project_id" })},
			[]string{`nas 1: path: "/ci/{project_id" has a brace that is not part of a placeholder`}},
		{"placeholder in mount path", []Mount{table(func(m *Mount) { m.MountPath = "/m/{project_id}" })},
			[]string{`nas 1: mount_path: "/m/{project_id}" takes no placeholders, only path does`}},
		{"extreme outside share", []Mount{table(func(m *Mount) { m.Server, m.Path = extremeServer, "/shared" })},
			[]string{`nas 1: path: "/shared" must start with /share: ` + extremeServer + " is an Extreme NAS mount target"}},
		{"extreme with version 4", []Mount{table(func(m *Mount) { m.Server, m.Path, m.Options = extremeServer, "/share", "vers=4.0" })},
			[]string{"nas 1: options: vers=4.0 must be 3: " + extremeServer + " is an Extreme NAS mount target"}},
		{"mount on root", []Mount{table(func(m *Mount) { m.MountPath = "/" })},
			[]string{"nas 1: mount_path: must not be /"}},
		{"over the driver's directory", []Mount{table(func(m *Mount) { m.MountPath = "/.eci/x" })},
			[]string{`nas 1: mount_path: "/.eci/x" overlaps /.eci, which is reserved`}},
		{"in builds_dir", []Mount{table(func(m *Mount) { m.MountPath = "/builds/cache" })},
			[]string{`nas 1: mount_path: "/builds/cache" overlaps builds_dir "/builds", which has a volume of its own`}},
		{"nested in one container", []Mount{table(nil), table(func(m *Mount) { m.Name, m.MountPath = "b", "/cache/b" })},
			[]string{`nas 2: mount_path: "/cache/b" overlaps mount_path "/cache" of table 1`}},
		{"options", []Mount{table(func(m *Mount) { m.Options = "vers=5,hard,hard, soft,nfsvers=3" })}, []string{
			"nas 1: options: vers=5 must be 3, 4 or 4.0",
			`nas 1: options: "hard" is given twice`,
			`nas 1: options: " soft" must be a word or word=value, with commas between and no spaces`,
			"nas 1: options: write vers instead of nfsvers",
		}},
		{"containers", []Mount{table(func(m *Mount) { m.Containers = []string{"build", "build", "svc-0"} })}, []string{
			`nas 1: containers: "build" is given twice`,
			`nas 1: containers: "svc-0" must be helper, build or service`,
		}},
		{"containers that share no path", []Mount{table(nil), table(func(m *Mount) { m.Name, m.Containers = "b", []string{Service} })}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			if err := Check(tt.mounts, "/builds"); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// crowd is n good mounts.
func crowd(n int) []Mount {
	var mounts []Mount
	for i := range n {
		mounts = append(mounts, table(func(m *Mount) { m.Name, m.MountPath = fmt.Sprint("m", i), fmt.Sprint("/m", i) }))
	}
	return mounts
}

func TestCheckErrorsCarryTableAndKey(t *testing.T) {
	err := Check([]Mount{table(nil), table(func(m *Mount) { m.Name, m.MountPath = "b", "m2" })}, "")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Check() = %v, want an *Error", err)
	}
	if e.Index != 1 || e.Key != "mount_path" {
		t.Errorf("got table %d, key %q; want 1, mount_path", e.Index, e.Key)
	}
}

func TestExpand(t *testing.T) {
	good := Values{ProjectPath: "group/sub/app", ProjectID: "42", RefProtected: true, ConcurrentID: "0123456789ab-3"}
	tests := []struct {
		name   string
		path   string
		values Values
		want   string
		err    string
	}{
		{"nothing to fill in", "/ci", Values{}, "/ci", ""},
		{"all", "/{project_path}/{project_id}/{ref_protected}/{concurrent_id}", good, "/group/sub/app/42/true/0123456789ab-3", ""},
		{"no slot", "/{concurrent_id}", Values{}, "", "value is empty"},
		{"slot with a slash", "/{concurrent_id}", Values{ConcurrentID: "a/../b"}, "", "must not contain a slash"},
		{"unprotected", "/ci/{ref_protected}", Values{}, "/ci/false", ""},
		{"twice in one part", "/p{project_id}-{project_id}", good, "/p42-42", ""},
		{"dots inside a name", "/{project_path}", Values{ProjectPath: "g/a..b"}, "/g/a..b", ""},
		{"empty", "/ci/{project_path}", Values{}, "", "value is empty"},
		{"absolute", "/ci/{project_path}", Values{ProjectPath: "/etc"}, "", "is absolute"},
		{"parent", "/ci/{project_path}", Values{ProjectPath: "g/../../h"}, "", `has the part ".."`},
		{"empty part", "/ci/{project_path}", Values{ProjectPath: "g//h"}, "", `has the part ""`},
		{"newline", "/ci/{project_path}", Values{ProjectPath: "g\nh"}, "", "character that is not allowed"},
		{"placeholder in a value", "/ci/{project_path}", Values{ProjectPath: "{project_id}", ProjectID: "1"}, "", "character that is not allowed"},
		{"id with a slash", "/ci/{project_id}", Values{ProjectID: "1/2"}, "", "must not contain a slash"},
		{"unknown", "/ci/{branch}", good, "", "{branch}: unknown placeholder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []Mount{table(func(m *Mount) { m.Path, m.SubPath = tt.path, strings.TrimPrefix(tt.path, "/") })}
			got, err := Expand(in, tt.values)
			if in[0].Path != tt.path {
				t.Errorf("the mount given was changed to %q", in[0].Path)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("Expand() = %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got[0].Path != tt.want || got[0].SubPath != strings.TrimPrefix(tt.want, "/") {
				t.Errorf("path %q, sub path %q, want %q", got[0].Path, got[0].SubPath, tt.want)
			}
		})
	}
}

func TestVolumes(t *testing.T) {
	mounts := []Mount{
		table(nil),
		table(func(m *Mount) { m.Name, m.MountPath, m.Options, m.ReadOnly = "m2", "/root/.m2", "", true }),
		table(func(m *Mount) {
			m.Name, m.MountPath, m.Options, m.Containers = "only", "/only", "vers=4.0", []string{Build}
		}),
		table(func(m *Mount) { m.Name, m.MountPath, m.Options, m.Containers = "nover", "/nover", "hard", nil }),
		table(func(m *Mount) { m.Name, m.MountPath, m.SubPath, m.ReadOnly = "docs", "/docs", "docs/42", true }),
		table(func(m *Mount) { m.Name, m.MountPath, m.Options, m.SubPath = "m3", "/m3", "", "m3" }),
		table(func(m *Mount) { m.Name, m.MountPath, m.Options, m.Containers = "db", "/db", "soft", []string{Service} }),
	}
	volumes, in := Volumes(mounts)
	flex := func(name string, more map[string]string) eci.Volume {
		options := map[string]string{"server": server, "path": "/ci/cache"}
		maps.Copy(options, more)
		return eci.Volume{Name: name, Flex: &eci.Flex{Driver: "alicloud/nas", Options: options}}
	}
	want := []eci.Volume{
		flex("nas-cache", map[string]string{"vers": "3", "options": "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"}),
		{Name: "nas-m2", NFS: &eci.NFS{Server: server, Path: "/ci/cache"}}, // not read-only: m3 writes to it
		flex("nas-only", map[string]string{"vers": "4.0"}),
		flex("nas-nover", map[string]string{"vers": "3", "options": "hard"}),
		flex("nas-db", map[string]string{"vers": "3", "options": "soft"}),
	}
	if diff := cmp.Diff(want, volumes); diff != "" {
		t.Error(diff)
	}
	both := []eci.VolumeMount{
		{Volume: "nas-cache", MountPath: "/cache"},
		{Volume: "nas-m2", MountPath: "/root/.m2", ReadOnly: true},
		{Volume: "nas-nover", MountPath: "/nover"},
		{Volume: "nas-cache", MountPath: "/docs", SubPath: "docs/42", ReadOnly: true},
		{Volume: "nas-m2", MountPath: "/m3", SubPath: "m3"},
	}
	helper := slices.Insert(slices.Clone(both), 2, eci.VolumeMount{Volume: "nas-only", MountPath: "/.eci/nas/only"})
	helper = append(helper, eci.VolumeMount{Volume: "nas-db", MountPath: "/.eci/nas/db"})
	service := []eci.VolumeMount{{Volume: "nas-db", MountPath: "/db"}}
	build := slices.Insert(slices.Clone(both), 2, eci.VolumeMount{Volume: "nas-only", MountPath: "/only"})
	if diff := cmp.Diff(map[string][]eci.VolumeMount{Helper: helper, Build: build, Service: service}, in); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/cache", "/.eci/nas/only", "/nover", "/m3", "/.eci/nas/db"}, Opened(mounts)); diff != "" {
		t.Error(diff)
	}
}

func TestReadOnlyNFSVolume(t *testing.T) {
	volumes, _ := Volumes([]Mount{table(func(m *Mount) { m.Options, m.ReadOnly = "", true })})
	if !volumes[0].NFS.ReadOnly {
		t.Error("the volume of a read-only table can be written to")
	}
}

func TestAt(t *testing.T) {
	mounts := []Mount{table(nil), table(func(m *Mount) { m.Name, m.MountPath = "b", "/builds" })}
	if m := At(mounts, "/builds"); m == nil || m.Name != "b" {
		t.Errorf("At(/builds) = %v", m)
	}
	if m := At(mounts, "/build"); m != nil {
		t.Errorf("At(/build) = %v", m)
	}
}

func TestNeedSlot(t *testing.T) {
	if NeedSlot([]Mount{table(nil)}) {
		t.Error("no table needs a slot")
	}
	for _, change := range []func(*Mount){
		func(m *Mount) { m.Path = "/x/{concurrent_id}" },
		func(m *Mount) { m.SubPath = "x{concurrent_id}" },
	} {
		if !NeedSlot([]Mount{table(nil), table(change)}) {
			t.Error("a table needs a slot")
		}
	}
}
