package sandbox

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupFile, in the host directory, lists the cgroups made for it, one path a
// line: what sweep removes after a killed process.
const cgroupFile = groupsDir + "/cgroups"

// cpuPeriod is the kernel's default CFS period in microseconds.
const cpuPeriod = 100000

// cgroupRoot is where this host makes its cgroups: one directory per writable
// controller on v1, a single one under the key "" on v2, none at all where
// nothing can be written.
type cgroupRoot struct{ dirs map[string]string }

// newCgroupRoot looks for the controllers memory, cpu and pids. v1 hierarchies
// come first, as on a hybrid mount the v2 one has no controllers. What can't be
// written is left out: containers then run without that limit.
func newCgroupRoot(hostDir string, from cgroupFiles) (*cgroupRoot, error) {
	sum := sha256.Sum256([]byte(hostDir))
	name := "eci-sandbox-" + hex.EncodeToString(sum[:6])
	want := map[string]string{}
	for ctrl, parent := range from.parents() {
		want[ctrl] = filepath.Join(parent, name)
	}
	var list strings.Builder
	for _, dir := range want {
		fmt.Fprintln(&list, dir)
	}
	// Written before the first mkdir, so that nothing is made that no list knows.
	if err := os.WriteFile(filepath.Join(hostDir, cgroupFile), []byte(list.String()), 0o600); err != nil {
		return nil, fmt.Errorf("note cgroups: %w", err)
	}
	root := &cgroupRoot{dirs: map[string]string{}}
	for ctrl, dir := range want {
		if os.MkdirAll(dir, 0o755) != nil {
			continue
		}
		if ctrl == "" && enableControllers(dir) != nil {
			_ = os.Remove(dir)
			continue
		}
		root.dirs[ctrl] = dir
	}
	return root, nil
}

// cgroupFiles are where the kernel tells of cgroups.
type cgroupFiles struct{ mounts, own string }

func kernelCgroups() cgroupFiles { return cgroupFiles{"/proc/self/mountinfo", "/proc/self/cgroup"} }

// parents gives the directory to make cgroups in per controller: this
// process's own cgroup on v1, the mount's root on v2, where a cgroup with
// processes may have no children with controllers unless it is the root.
func (f cgroupFiles) parents() map[string]string {
	own := f.ownCgroups()
	parents := map[string]string{}
	unified := ""
	mounts, err := readMounts(f.mounts)
	if err != nil {
		return parents
	}
	for _, m := range mounts {
		if m.fsType == "cgroup2" {
			unified = m.point
		}
		if m.fsType != "cgroup" {
			continue
		}
		for ctrl := range strings.SplitSeq(m.superOptions, ",") {
			if !slices.Contains([]string{"memory", "cpu", "pids"}, ctrl) {
				continue
			}
			dir := filepath.Join(m.point, own[ctrl])
			if _, err := os.Stat(dir); err != nil {
				dir = m.point
			}
			parents[ctrl] = dir
		}
	}
	if len(parents) > 0 || unified == "" || enableControllers(unified) != nil {
		return parents
	}
	return map[string]string{"": unified}
}

// enableControllers lets children of a v2 cgroup have limits.
func enableControllers(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +cpu +pids"), 0o644)
}

// ownCgroups is this process's place: controller -> path below its hierarchy.
func (f cgroupFiles) ownCgroups() map[string]string {
	own := map[string]string{}
	r, err := os.Open(f.own)
	if err != nil {
		return own
	}
	defer r.Close()
	for sc := bufio.NewScanner(r); sc.Scan(); {
		part := strings.SplitN(sc.Text(), ":", 3)
		if len(part) != 3 {
			continue
		}
		for ctrl := range strings.SplitSeq(part[1], ",") {
			own[ctrl] = part[2]
		}
	}
	return own
}

func (r *cgroupRoot) close() error {
	var errs []error
	for _, dir := range r.dirs {
		errs = append(errs, removeCgroup(dir))
	}
	return errors.Join(errs...)
}

// cgroup is one node: of a group (below the root) or of a container (below its
// group). The zero value stands for "no cgroups here" and every method is then
// without effect.
type cgroup struct{ dirs map[string]string }

// newCgroup makes a node name below parent's directories with limits; cpu in
// vCPU, memory in bytes, 0 = none. leaf tells whether processes go into it.
func newCgroup(parent map[string]string, name string, cpu float64, memory int64, leaf bool) (cgroup, error) {
	c := cgroup{dirs: map[string]string{}}
	for ctrl, dir := range parent {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return c, errors.Join(fmt.Errorf("create cgroup: %w", err), c.remove())
		}
		c.dirs[ctrl] = dir
		if ctrl == "" && !leaf {
			if err := enableControllers(dir); err != nil {
				return c, errors.Join(fmt.Errorf("enable cgroup controllers: %w", err), c.remove())
			}
		}
	}
	if err := c.limit(cpu, memory); err != nil {
		return c, errors.Join(err, c.remove())
	}
	return c, nil
}

func (c cgroup) limit(cpu float64, memory int64) error {
	write := func(ctrl, file, value string) error {
		dir, ok := c.dirs[ctrl]
		if !ok {
			return nil
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set cgroup limit: %w", err)
		}
		return nil
	}
	var errs []error
	if memory > 0 {
		value := strconv.FormatInt(memory, 10)
		errs = append(errs, write("memory", "memory.limit_in_bytes", value), write("", "memory.max", value))
	}
	if cpu > 0 {
		quota := max(int64(cpu*cpuPeriod), 1000) // the kernel refuses less than 1 ms
		errs = append(errs, write("cpu", "cpu.cfs_quota_us", strconv.FormatInt(quota, 10)),
			write("", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod)))
	}
	return errors.Join(errs...)
}

// addProcess moves a whole process.
func (c cgroup) addProcess(pid int) error { return c.add("cgroup.procs", pid) }

// addThread moves the calling thread, whose children then start inside. Only v1 can;
// on v2 it does nothing, see Container.Exec. As 0, not by its id: a thread that moves
// itself does not have the kernel wait for a grace period of RCU, 10 ms after a pause
// (Linux, cgroup_procs_write_start).
func (c cgroup) addThread() error {
	if _, v2 := c.dirs[""]; v2 {
		return nil
	}
	return c.add("tasks", 0)
}

func (c cgroup) add(file string, id int) error {
	for _, dir := range c.dirs {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(id)), 0o644); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// oomKills counts processes that the kernel killed for the memory limit of this
// cgroup or its group: memory.events on v2, memory.oom_control on v1.
func (c cgroup) oomKills() int {
	for ctrl, file := range map[string]string{"memory": "memory.oom_control", "": "memory.events"} {
		dir, ok := c.dirs[ctrl]
		if !ok {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				count, _ := strconv.Atoi(strings.TrimSpace(n))
				return count
			}
		}
	}
	return 0
}

// view says what to show below /sys/fs/cgroup inside: host directory -> name
// there ("" = /sys/fs/cgroup itself), as a container of ECI sees its own limits.
func (c cgroup) view() map[string]string {
	v := map[string]string{}
	for ctrl, dir := range c.dirs {
		v[dir] = ctrl
	}
	return v
}

func (c cgroup) remove() error {
	var errs []error
	for _, dir := range c.dirs {
		errs = append(errs, removeCgroup(dir))
	}
	return errors.Join(errs...)
}

// removeTime bounds the wait for a cgroup to be empty.
const removeTime = 10 * time.Second

// removeCgroup removes an empty cgroup. A process that has just been reaped may
// still be on its way out, and so may a thread of ours that has started an exec,
// for which the kernel gives no event: it tries again for removeTime.
func removeCgroup(dir string) error {
	deadline := time.Now().Add(removeTime)
	for {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(time.Millisecond)
	}
}
