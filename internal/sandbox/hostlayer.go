package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// The host's own root as a layer ("/"): a container with all the host's
// programs, without unpacking an image.

// hostDirs are the top directories that a container sees of a host root used as
// layer: programs and their configuration, no one's data.
func hostDirs() []string {
	return []string{"bin", "sbin", "usr", "etc", "opt", "var", "lib", "lib32", "lib64", "libx32", "nix", "gnu"}
}

// mountHostLayer makes the host's root usable as a layer at dir: a read-only
// overlay of its own with whiteouts for all but hostDirs. An overlay because
// the kernel refuses other layers beside "/" that lie below it on the same file
// system (ELOOP); for the same reason the whiteouts stand on a tmpfs.
func mountHostLayer(spec initSpec, dir string) error {
	mask := filepath.Join(spec.Dir, "mask")
	if err := unix.Mount("tmpfs", mask, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount host layer: %w", err)
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return fmt.Errorf("mount host layer: %w", err)
	}
	for _, e := range entries {
		if slices.Contains(hostDirs(), e.Name()) {
			continue
		}
		// A whiteout is the device 0/0; every user may make one since Linux 5.8.
		if err := unix.Mknod(filepath.Join(mask, e.Name()), unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("hide host's /%s: %w", e.Name(), err)
		}
	}
	opts := "lowerdir=" + escapeOption(mask) + ":/" + userXattr(spec)
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, opts); err != nil {
		return fmt.Errorf("mount host layer: %w", err)
	}
	return nil
}

// makeHiddenDirs gives a root made of the host's the directories that every
// system has, empty, unless another layer brings them.
func makeHiddenDirs() error {
	for dir, mode := range map[string]uint32{"/tmp": 0o1777, "/root": 0o700, "/home": 0o755, "/run": 0o755} {
		if err := unix.Mkdir(dir, mode); err != nil && err != unix.EEXIST {
			return fmt.Errorf("create %s: %w", dir, err)
		}
	}
	return nil
}

// makeHostSkeleton makes dir the place for hostDirs, links copied. In a user
// namespace "/" can't be a layer, as the mounts on it are locked to it (EINVAL);
// its directories can.
func makeHostSkeleton(_ initSpec, dir string) error {
	for _, name := range hostDirs() {
		st, err := os.Lstat("/" + name)
		if err != nil {
			continue
		}
		at := filepath.Join(dir, name)
		if st.Mode()&os.ModeSymlink == 0 {
			err = os.Mkdir(at, 0o755)
		} else if to, lerr := os.Readlink("/" + name); lerr == nil {
			err = os.Symlink(to, at)
		}
		if err != nil {
			return fmt.Errorf("make host layer: %w", err)
		}
	}
	return nil
}

// fillHostSkeleton mounts on each directory of the skeleton an overlay of that
// directory in all layers. One with locked mounts in it becomes a read-only
// bind mount.
func fillHostSkeleton(spec initSpec, root string) error {
	for _, name := range hostDirs() {
		at := filepath.Join(root, name)
		if st, err := os.Lstat(at); err != nil || !st.IsDir() {
			continue
		}
		var layers []string
		for _, l := range spec.Config.Layers {
			dir := filepath.Join(l, name)
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				layers = append(layers, dir)
			}
		}
		for _, kind := range []string{"upper-", "work-"} {
			if err := os.Mkdir(filepath.Join(spec.Dir, kind+name), 0o755); err != nil {
				return fmt.Errorf("mount host's /%s: %w", name, err)
			}
		}
		if overlay(spec, at, layers, "-"+name) == nil {
			continue
		}
		fd, _, err := cloneTree("/"+name, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
		if err != nil {
			return err
		}
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("mount host's /%s: %w", name, err)
		}
	}
	return nil
}
