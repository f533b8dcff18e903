package sandbox

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hierarchy is a stand-in for mounted cgroups: directories that hold what is
// written, and the two files in which the kernel tells of them.
type hierarchy struct {
	dir   string
	files cgroupFiles
}

// newHierarchy makes the mounts, "v1 memory", "v1 cpu,cpuacct" or "v2", and says
// that this process is in own. A mount named "closed ..." can't be written.
func newHierarchy(t *testing.T, own string, mounts ...string) hierarchy {
	t.Helper()
	h := hierarchy{dir: t.TempDir()}
	h.files = cgroupFiles{filepath.Join(h.dir, "mountinfo"), filepath.Join(h.dir, "self")}
	var info strings.Builder
	for i, m := range mounts {
		m, closed := strings.CutPrefix(m, "closed ")
		kind, options := "cgroup", "rw,"+strings.TrimPrefix(m, "v1 ")
		if m == "v2" {
			kind, options = "cgroup2", "rw"
		}
		point := filepath.Join(h.dir, strings.ReplaceAll(m, " ", "_"))
		fmt.Fprintf(&info, "%d 1 0:%d / %s rw - %s %s %s\n", i, i, point, kind, kind, options)
		create := func() error { return os.MkdirAll(filepath.Join(point, "jobs"), 0o755) }
		if closed {
			create = func() error { return os.WriteFile(point, nil, 0o644) } // nothing can be made below a file
		}
		if err := create(); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{h.files.mounts: info.String(), h.files.own: own} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// written lists the files below the hierarchy's cgroups with their content.
func (h hierarchy) written(t *testing.T) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == h.dir {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(h.dir, path)
		lines = append(lines, rel+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// Whatever a machine has of cgroups is found, and a group's and a container's
// limits are written where they belong.
func TestCgroupsOfEachKind(t *testing.T) {
	const own = "5:cpu,cpuacct:/jobs\n4:memory:/jobs\n3:pids:/gone\n0::/\n"
	for _, tt := range []struct {
		name   string
		mounts []string
		found  string // controllers
		want   string // written below the host's cgroup for a group of 1.5 vCPU and 64 MiB with process 42
	}{
		{"v1", []string{"v1 memory", "v1 cpu,cpuacct", "v1 pids", "v1 freezer"}, "cpu memory pids", `
v1_cpu,cpuacct/jobs/HOST/g/cpu.cfs_quota_us=150000
v1_cpu,cpuacct/jobs/HOST/g/c/cgroup.procs=42
v1_memory/jobs/HOST/g/c/cgroup.procs=42
v1_memory/jobs/HOST/g/memory.limit_in_bytes=67108864
v1_pids/HOST/g/c/cgroup.procs=42`},
		{"v1, memory alone can be written", []string{"v1 memory", "closed v1 cpu,cpuacct", "closed v1 pids"}, "memory", `
v1_memory/jobs/HOST/g/c/cgroup.procs=42
v1_memory/jobs/HOST/g/memory.limit_in_bytes=67108864`},
		{"v2", []string{"v2"}, "", `
v2/HOST/cgroup.subtree_control=+memory +cpu +pids
v2/HOST/g/c/cgroup.procs=42
v2/HOST/g/cgroup.subtree_control=+memory +cpu +pids
v2/HOST/g/cpu.max=150000 100000
v2/HOST/g/memory.max=67108864
v2/cgroup.subtree_control=+memory +cpu +pids`},
		{"hybrid: v1 has the controllers", []string{"v2", "v1 memory"}, "memory", `
v1_memory/jobs/HOST/g/c/cgroup.procs=42
v1_memory/jobs/HOST/g/memory.limit_in_bytes=67108864`},
		{"v2 that can't be written", []string{"closed v2"}, "none", ""},
		{"v1 that can't be written", []string{"closed v1 memory"}, "none", ""},
		{"none", nil, "none", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHierarchy(t, own, tt.mounts...)
			host := t.TempDir()
			if err := os.Mkdir(filepath.Join(host, groupsDir), 0o755); err != nil {
				t.Fatal(err)
			}
			root, err := newCgroupRoot(host, h.files)
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(slices.Sorted(maps.Keys(root.dirs)), " ")
			if len(root.dirs) == 0 {
				found = "none"
			}
			if found != tt.found {
				t.Errorf("found %q, want %q", found, tt.found)
			}
			group, err := newCgroup(root.dirs, "g", 1.5, 64<<20, false)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := newCgroup(group.dirs, "c", 0, 0, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := leaf.addProcess(42); err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSpace(tt.want)
			for _, dir := range root.dirs {
				want = strings.ReplaceAll(want, "HOST", filepath.Base(dir))
			}
			got := h.written(t)
			if sorted(got) != sorted(want) {
				t.Errorf("written\n%s\nwant\n%s", got, want)
			}
			noted, err := os.ReadFile(filepath.Join(host, cgroupFile))
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range root.dirs {
				if !strings.Contains(string(noted), dir+"\n") {
					t.Errorf("%s is not noted for the sweep in %q", dir, noted)
				}
			}
		})
	}
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestOOMKillsAreRead(t *testing.T) {
	for _, tt := range []struct {
		name, controller, file, content string
		want                            int
	}{
		{"v1", "memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3},
		{"v2", "", "memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n", 2},
		{"v1 of an old kernel", "memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0},
		{"gone", "", "other", "oom_kill 1\n", 0},
		{"another controller", "pids", "memory.oom_control", "oom_kill 1\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := (cgroup{dirs: map[string]string{tt.controller: dir}}).oomKills(); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
	if got := (cgroup{}).oomKills(); got != 0 {
		t.Errorf("%d without cgroups", got)
	}
}

// A container runs where no cgroup can be written, without limits.
func TestWithoutCgroups(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	h := newHierarchy(t, "")
	var err error
	if g.host.cgroups, err = newCgroupRoot(g.host.dir, h.files); err != nil {
		t.Fatal(err)
	}
	bare, err := g.host.CreateGroup(GroupConfig{Name: "bare", CPU: 1, MemoryBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	cfg := shell("echo in; ls /sys/fs/cgroup; exec sleep 1000")
	cfg.CPU, cfg.MemoryBytes = 1, 1<<30
	c, log := start(t, bare, cfg)
	log.await(t, "in\n")
	if out, code := execOutput(t, c, "echo out"); out != "out\n" || code != 0 {
		t.Errorf("exec: %q, %d", out, code)
	}
	if n := c.OOMKills(); n != 0 {
		t.Errorf("%d kills", n)
	}
	if err := bare.Destroy(); err != nil {
		t.Error(err)
	}
}

// A process moves into a real v2 cgroup, and that can be removed once it is gone.
// Limits need a machine whose controllers are v2's; TestOutOfMemory is for any.
func TestRealCgroup2(t *testing.T) {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(mounts, func(m mountEntry) bool { return m.fsType == "cgroup2" })
	if i < 0 {
		t.Skip("no cgroup2 is mounted")
	}
	dir := filepath.Join(mounts[i].point, fmt.Sprintf("eci-sandbox-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip(err)
	}
	c := cgroup{dirs: map[string]string{"": dir}}
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Error(err)
		}
	})
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	err = c.addProcess(child.Process.Pid)
	own, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", child.Process.Pid))
	_ = child.Process.Kill()
	_ = child.Wait() // killed
	if err != nil || !strings.Contains(string(own), "0::") || !strings.Contains(string(own), filepath.Base(dir)) {
		t.Errorf("%v: the child is in %s", err, own)
	}
	if err := c.addThread(); err != nil {
		t.Errorf("a thread alone, which v2 does not take: %v", err)
	}
}

// Ports of the system are taken in each group: containers can't bind them, on any
// address, and nobody answers there.
func TestTakenPorts(t *testing.T) {
	g := newTestGroup(t, GroupConfig{TakenPorts: []int{111, 10250}})
	for _, address := range []string{":111", "127.0.0.1:111", "0.0.0.0:10250", "[::]:10250", "127.0.0.1:10250"} {
		if l, err := g.Listen(address); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("listen on %s: %v, %v", address, l, err)
		}
	}
	l, err := g.Listen(":10251")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, out := run(t, g, shell("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/10250' 2>&1")); !strings.Contains(out, "refused") {
		t.Errorf("connect: %q", out)
	}
}
