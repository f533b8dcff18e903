package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// All mounts are made in init's own mount namespace and vanish with it; the
// host never sees one.

// buildRoot turns the calling process's mount namespace into the container's.
// What comes from the host is cloned as detached trees before pivot_root and
// attached after it, so that links in the image resolve inside the image.
func buildRoot(spec initSpec) error {
	if err := privateMounts(); err != nil {
		return err
	}
	root := filepath.Join(spec.Dir, "root")
	if err := mountOverlay(spec, root); err != nil {
		return err
	}
	trees, err := cloneTrees(spec)
	if err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return err
	}
	// In a user namespace /proc and /sys can be mounted only while a full one
	// is to be seen already, mount_namespaces(7): the host's.
	if err := mountProcSys(spec); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach host root: %w", err)
	}
	if slices.Contains(spec.Config.Layers, "/") {
		if err := makeHiddenDirs(); err != nil {
			return err
		}
	}
	if err := mountDev(spec); err != nil {
		return err
	}
	for _, t := range trees {
		if err := t.attach(); err != nil {
			return err
		}
	}
	return nil
}

// privateMounts keeps what follows from spreading to the host.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// mountOverlay joins the layers at root. It is mounted nodev: a container may
// make device nodes, as on ECI, but not open them.
func mountOverlay(spec initSpec, root string) error {
	layers := slices.Clone(spec.Config.Layers)
	for i, l := range layers {
		if _, err := os.Stat(l); err != nil {
			return fmt.Errorf("image layer: %w", err)
		}
		if l != "/" {
			continue
		}
		layers[i] = filepath.Join(spec.Dir, "host")
		prepare := mountHostLayer
		if spec.UserNS {
			prepare = makeHostSkeleton
		}
		if err := prepare(spec, layers[i]); err != nil {
			return err
		}
	}
	if err := overlay(spec, root, layers, ""); err != nil {
		return fmt.Errorf("mount image layers: %w", err)
	}
	if spec.UserNS && slices.Contains(spec.Config.Layers, "/") {
		return fillHostSkeleton(spec, root)
	}
	return nil
}

// overlay mounts layers with the container's writable layer, or one more of
// those where suffix is set. It is volatile, as nothing of it outlives the
// container: without that the kernel syncs the whole file system at the end.
func overlay(spec initSpec, at string, layers []string, suffix string) error {
	lower := make([]string, len(layers))
	for i, l := range layers {
		lower[i] = escapeOption(l)
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile", strings.Join(lower, ":"),
		escapeOption(filepath.Join(spec.Dir, "upper"+suffix)), escapeOption(filepath.Join(spec.Dir, "work"+suffix)))
	return unix.Mount("overlay", at, "overlay", unix.MS_NODEV, opts+userXattr(spec))
}

// userXattr keeps overlayfs's marks in attributes that an unprivileged mount may write.
func userXattr(spec initSpec) string {
	if spec.UserNS {
		return ",userxattr"
	}
	return ""
}

func escapeOption(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// pivot makes root the namespace's root. The old one lies on top of it, out of
// the way of absolute paths, until it is unmounted as ".", pivot_root(2).
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return nil
}

// tree is one thing to attach inside: a clone of something on the host, or a tmpfs.
type tree struct {
	Mount
	fd       int
	isDir    bool
	optional bool // leave out where the place for it can't be made
}

// fuseDevice is what Rootless containers have beside the devices of all.
const fuseDevice = "/dev/fuse"

// cloneTrees clones all that comes from the host, in the order of attaching.
func cloneTrees(spec initSpec) ([]tree, error) {
	var trees []tree
	add := func(m Mount, optional bool, attrs uint64) error {
		t := tree{Mount: m, fd: -1, isDir: true, optional: optional}
		if !m.Tmpfs {
			var err error
			if t.fd, t.isDir, err = cloneTree(m.Source, attrs); err != nil {
				return err
			}
		}
		trees = append(trees, t)
		return nil
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		p := "/dev/" + name
		if err := add(Mount{Source: p, Target: p}, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return nil, err
		}
	}
	if spec.Config.Rootless {
		if _, err := os.Stat(fuseDevice); err == nil {
			if err := add(Mount{Source: fuseDevice, Target: fuseDevice}, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range maskedFiles() {
		if err := add(Mount{Source: os.DevNull, Target: p}, true, unix.MOUNT_ATTR_NOEXEC); err != nil {
			return nil, err
		}
	}
	for dir, name := range spec.Cgroups {
		m := Mount{Source: dir, Target: filepath.Join("/sys/fs/cgroup", name), ReadOnly: true}
		if err := add(m, true, unix.MOUNT_ATTR_NODEV); err != nil {
			return nil, err
		}
	}
	for i, m := range append(slices.Clone(spec.Files), spec.Config.Mounts...) {
		if err := add(m, i < len(spec.Files), unix.MOUNT_ATTR_NODEV); err != nil {
			return nil, err
		}
	}
	return trees, nil
}

// cloneTree is a recursive bind mount that is not attached anywhere yet.
func cloneTree(source string, attrs uint64) (fd int, isDir bool, err error) {
	st, err := os.Stat(source)
	if err != nil {
		return -1, false, fmt.Errorf("mount source: %w", err)
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE)
	fd, err = unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return -1, false, fmt.Errorf("mount %s: %w", source, err)
	}
	return fd, st.IsDir(), setAttrs(fd, attrs)
}

func setAttrs(fd int, attrs uint64) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs})
	if err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}

func (t tree) attach() error {
	if t.fd >= 0 {
		defer unix.Close(t.fd)
	}
	if err := makeTarget(t.Target, t.isDir); err != nil {
		if t.optional {
			return nil
		}
		return fmt.Errorf("mount on %s: %w", t.Target, err)
	}
	if t.Tmpfs {
		return mountTmpfs(t.Mount)
	}
	if t.ReadOnly {
		if err := setAttrs(t.fd, unix.MOUNT_ATTR_RDONLY); err != nil {
			return err
		}
	}
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_SYMLINKS
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.Target, flags); err != nil {
		return fmt.Errorf("mount %s on %s: %w", t.Source, t.Target, err)
	}
	return nil
}

func mountTmpfs(m Mount) error {
	opts := "mode=1777"
	if m.Size > 0 {
		opts += fmt.Sprintf(",size=%d", m.Size)
	}
	flags := uintptr(unix.MS_NODEV | unix.MS_NOSUID)
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", m.Target, "tmpfs", flags, opts); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", m.Target, err)
	}
	return nil
}

// makeTarget creates the directory or empty file to mount on. A dangling link,
// as many images have for resolv.conf, is replaced by a file.
func makeTarget(target string, isDir bool) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if isDir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
