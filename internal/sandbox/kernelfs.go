package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shmSize is what container runtimes give /dev/shm, in bytes; a Mount on it sets another.
const shmSize = 64 << 20

const noExec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mountProcSys mounts /proc and /sys in the new root.
func mountProcSys(spec initSpec) error {
	for _, d := range []string{"/proc", "/sys"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("create %s: %w", d, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", noExec, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := maskProc(); err != nil {
		return err
	}
	return mountSys(spec)
}

// maskedFiles are covered with /dev/null: they show the whole machine's memory,
// keys and timers. Like those of maskProc, the paths are runc's.
func maskedFiles() []string { return []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"} }

// maskProc makes read-only what root could else change on the whole machine
// through files, without any capability.
func maskProc() error {
	for _, p := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		fd, _, err := cloneTree(p, unix.MOUNT_ATTR_RDONLY)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, p, unix.MOVE_MOUNT_F_EMPTY_PATH)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("make %s read-only: %w", p, err)
		}
	}
	return nil
}

// mountSys mounts sysfs read-only, with room for the container's cgroup files;
// where a user namespace may not, an empty directory with that room.
func mountSys(spec initSpec) error {
	err := unix.Mount("sysfs", "/sys", "sysfs", noExec|unix.MS_RDONLY, "")
	if err != nil && !spec.UserNS {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if len(spec.Cgroups) == 0 {
		return nil
	}
	if err != nil {
		if err := unix.Mount("tmpfs", "/sys", "tmpfs", noExec, "mode=755"); err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
		if err := os.MkdirAll("/sys/fs/cgroup", 0o755); err != nil {
			return fmt.Errorf("create /sys/fs/cgroup: %w", err)
		}
	}
	if _, v2 := spec.Cgroups[""]; v2 {
		return nil // goes on /sys/fs/cgroup itself
	}
	if err := unix.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", noExec, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("mount /sys/fs/cgroup: %w", err)
	}
	return nil
}

// mountDev mounts /dev; its devices come later, as clones of the host's, since
// only those can be opened in a nodev file system.
func mountDev(spec initSpec) error {
	const tmpfs = unix.MS_NOSUID | unix.MS_NODEV
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return fmt.Errorf("create /dev: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", tmpfs|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, d := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("create %s: %w", d, err)
		}
	}
	opts := "newinstance,ptmxmode=0666,mode=0620"
	if !spec.UserNS {
		opts += ",gid=5" // tty
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	opts = fmt.Sprintf("mode=1777,size=%d", shmSize)
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", tmpfs|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	for link, to := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2", "/dev/ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, link); err != nil {
			return fmt.Errorf("link %s: %w", link, err)
		}
	}
	return nil
}
