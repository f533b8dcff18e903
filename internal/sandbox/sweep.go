package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweepTime bounds the wait for killed processes to be gone.
const sweepTime = 5 * time.Second

// sweep removes what a killed process left below dir, whose lock the caller
// holds: processes first, then mounts, cgroups, directories.
func sweep(dir string) error {
	if err := killLeftovers(dir); err != nil {
		return err
	}
	if err := UnmountBelow(dir); err != nil {
		return err // never remove through a mount
	}
	var errs []error
	list, err := os.ReadFile(filepath.Join(dir, cgroupFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read list of cgroups: %w", err)
	}
	for cg := range strings.Lines(string(list)) {
		errs = append(errs, removeCgroupTree(strings.TrimSpace(cg)))
	}
	errs = append(errs, removeTree(filepath.Join(dir, groupsDir)), os.Mkdir(filepath.Join(dir, groupsDir), 0o755))
	return errors.Join(errs...)
}

// UnmountBelow unmounts all that is mounted below dir in this process's mount namespace, the
// last mount first. dir must be a path without links, as the kernel shows it.
func UnmountBelow(dir string) error {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if !strings.HasPrefix(m.point, dir+"/") {
			continue
		}
		if err := unix.Unmount(m.point, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.point, err))
		}
	}
	return errors.Join(errs...)
}

// killLeftovers kills every process whose root lies on an overlay with its
// writable layer below dir. That needs no record and can't hit another
// process: the kernel itself says so in the process's mount table.
func killLeftovers(dir string) error {
	var killed []int // pidfds
	defer func() {
		for _, fd := range killed {
			_ = unix.Close(fd)
		}
	}()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("own mount namespace: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		ns, err := os.Readlink("/proc/" + e.Name() + "/ns/mnt")
		if err != nil || ns == own {
			continue // gone, another user's, or not in a container
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// The table is read after the pidfd is open, so it is the same process.
		if !livesBelow(e.Name(), dir) || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
			_ = unix.Close(fd)
			continue
		}
		killed = append(killed, fd)
	}
	return awaitExit(killed)
}

func livesBelow(pid, dir string) bool {
	mounts, err := readMounts("/proc/" + pid + "/mountinfo")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(mounts, func(m mountEntry) bool {
		return m.fsType == "overlay" && strings.Contains(m.superOptions, ",upperdir="+dir+"/"+groupsDir+"/")
	})
}

// awaitExit waits until the processes behind the pidfds have ended.
func awaitExit(pidfds []int) error {
	deadline := time.Now().Add(sweepTime)
	for _, fd := range pidfds {
		for {
			left := time.Until(deadline)
			if left <= 0 {
				return errors.New("a process of an earlier run does not die")
			}
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return fmt.Errorf("wait for killed process: %w", err)
			}
			if n > 0 {
				break
			}
		}
	}
	return nil
}

// removeCgroupTree removes a cgroup and its children, killing what is inside.
func removeCgroupTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep cgroup: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeCgroupTree(filepath.Join(dir, e.Name())))
		}
	}
	procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for p := range strings.FieldsSeq(string(procs)) {
		if pid, err := strconv.Atoi(p); err == nil && pid > 1 && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return errors.Join(append(errs, removeCgroup(dir))...)
}

// removeTree is os.RemoveAll that opens locked directories first, as overlayfs
// leaves one with mode 0 that an unprivileged owner can't list.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// mountEntry is one line of mountinfo, proc_pid_mountinfo(5).
type mountEntry struct{ point, fsType, superOptions string }

func readMounts(file string) ([]mountEntry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var mounts []mountEntry
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		mounts = append(mounts, mountEntry{unescape.Replace(l[4]), r[0], unescape.Replace(r[2])})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return mounts, nil
}
