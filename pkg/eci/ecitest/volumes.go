package ecitest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// volumesDir, in Options.Dir, holds the volumes of groups; NAS directories are elsewhere.
const volumesDir = "volumes"

// quantity reads a size such as 256Mi in bytes, its unit required; 0 when absent.
func (p *params) quantity(name string) int64 {
	v := p.str(name)
	if v == "" {
		return 0
	}
	units := map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "K": 1e3, "M": 1e6, "G": 1e9}
	digits := strings.TrimRight(v, "KMGi")
	n, err := strconv.ParseInt(digits, 10, 40)
	unit, ok := units[v[len(digits):]]
	if err != nil || n <= 0 || !ok {
		p.fail("InvalidParameter", "%s is %q, not a size such as 256Mi", name, v)
		return 0
	}
	return n * unit
}

// volume is a host directory that stands for a volume.
type volume struct {
	dir      string
	readOnly bool
	shownTo  map[string]string // container -> directory that stands for dir there; others have dir itself
}

// in is the directory that stands for the volume in a container.
func (v volume) in(container string) string { return cmp.Or(v.shownTo[container], v.dir) }

// makeVolumes makes the group's volumes below dir.
func (s *Server) makeVolumes(dir string, specs []volumeSpec) (map[string]volume, error) {
	volumes := map[string]volume{}
	for _, v := range specs {
		made, err := s.makeVolume(filepath.Join(dir, v.Name), v)
		if err != nil {
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", v.Name, err)
		}
		volumes[v.Name] = made
	}
	return volumes, nil
}

func (s *Server) makeVolume(dir string, v volumeSpec) (volume, error) {
	if v.Bucket != "" {
		return s.mountOSS(v)
	}
	if v.Type == "NFSVolume" || v.Type == "FlexVolume" {
		return s.mountNAS(v)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return volume{}, err
	}
	if v.Type == "EmptyDirVolume" {
		return volume{dir: dir}, s.makeEmptyDir(dir, v)
	}
	return volume{dir: dir}, writeConfigFiles(dir, v)
}

// makeEmptyDir makes an EmptyDir of a directory that is there.
func (s *Server) makeEmptyDir(dir string, v volumeSpec) error {
	mode := os.FileMode(0o777)
	if s.opts.Switches.EmptyDirClosed {
		mode = 0o755
	}
	if v.Medium == "Memory" {
		data := fmt.Sprintf("mode=%#o", mode)
		if size := cmp.Or(v.SizeBytes, s.opts.Switches.MemoryDirSize); size > 0 {
			data += ",size=" + strconv.FormatInt(size, 10)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err == nil {
			return nil
		} // else not allowed here: a plain directory does, without the limit
	}
	return os.Chmod(dir, mode) // past the umask
}

// writeConfigFiles fills a ConfigFile volume.
func writeConfigFiles(dir string, v volumeSpec) error {
	for _, f := range v.Files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Content, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, f.Mode); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// mountNAS answers with a directory of the host. FlexVolume creates a missing
// path, as its documentation says; NFSVolume does as the switch says.
func (s *Server) mountNAS(v volumeSpec) (volume, error) {
	if strings.Contains(v.Server, ".extreme.") && v.Path != "/share" && !strings.HasPrefix(v.Path, "/share/") {
		return volume{}, fmt.Errorf("mount.nfs: access denied by server while mounting %s:%s (Extreme NAS paths start with /share)", v.Server, v.Path)
	}
	// Through os.Root: a job may have left links in there.
	base := s.NASDir(v.Server, "/")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return volume{}, err
	}
	dir := s.NASDir(v.Server, v.Path)
	sub, err := filepath.Rel(base, dir)
	if err != nil {
		return volume{}, err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return volume{}, err
	}
	defer root.Close()
	if v.Type == "FlexVolume" || s.opts.Switches.NFSMissingPathCreated {
		if err := root.MkdirAll(sub, 0o755); err != nil {
			return volume{}, err
		}
	}
	if _, err := root.Stat(sub); err != nil {
		return volume{}, fmt.Errorf("mount.nfs: mounting %s:%s failed, reason given by server: No such file or directory", v.Server, v.Path)
	}
	ro := s.opts.Switches.FlexVolumeRO && slices.Contains(strings.Split(v.MountOptions, ","), "ro")
	return volume{dir: dir, readOnly: v.ReadOnly || ro}, nil
}

// mountOSS answers with a directory of a bucket, which anybody may write to as ossfs
// has it with allow_other and umask=0. Whether a missing one is made nobody documents;
// a bucket has no directories, only names.
func (s *Server) mountOSS(v volumeSpec) (volume, error) {
	root, err := os.OpenRoot(s.OSSDir(v.Bucket))
	if err != nil {
		return volume{}, fmt.Errorf("ossfs: unable to access bucket %s at %s (host=%s, http status 404): NoSuchBucket", v.Bucket, v.Path, v.Server)
	}
	defer root.Close()
	sub, err := filepath.Rel("/", filepath.Clean(v.Path))
	if err == nil {
		err = root.MkdirAll(sub, 0o777)
	}
	if err == nil {
		err = root.Chmod(sub, 0o777)
	}
	return volume{dir: filepath.Join(root.Name(), sub)}, err
}

// bindMounts turns a container's volume mounts into binds.
func (s *Server) bindMounts(c containerSpec, volumes map[string]volume) ([]sandbox.Mount, error) {
	var mounts []sandbox.Mount
	for _, m := range c.Mounts {
		v := volumes[m.Volume]
		source := v.in(c.Name)
		if m.SubPath != "" {
			if err := s.findSubPath(v.dir, m.SubPath); err != nil {
				s.opts.Log("ecitest: sub path %s of volume %s: %v", m.SubPath, m.Volume, err)
				return nil, &configError{fmt.Sprintf("failed to prepare subPath for volumeMount %q of container %q", m.Volume, c.Name)}
			}
			source = filepath.Join(source, m.SubPath)
		}
		mounts = append(mounts, sandbox.Mount{Source: source, Target: m.Path, ReadOnly: m.ReadOnly || v.readOnly})
	}
	// A mount on a path inside another one comes after it.
	slices.SortStableFunc(mounts, func(a, b sandbox.Mount) int {
		return strings.Compare(filepath.Clean(a.Target), filepath.Clean(b.Target))
	})
	return mounts, nil
}

// findSubPath finds a SubPath in a volume, or makes it as the switch says.
func (s *Server) findSubPath(dir, path string) error {
	root, err := os.OpenRoot(dir) // a job may have left links in there
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Stat(path); !errors.Is(err, os.ErrNotExist) || s.opts.Switches.MissingSubPath == SubPathRefused {
		return err
	}
	if err := root.MkdirAll(path, 0o755); err != nil || s.opts.Switches.MissingSubPath != SubPathOpen {
		return err
	}
	return root.Chmod(path, 0o777)
}

// sweepVolumes unmounts what is mounted below dir and removes it.
func sweepVolumes(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	target, err := filepath.EvalSymlinks(dir)
	if err == nil {
		err = sandbox.UnmountBelow(target)
	}
	if err != nil {
		return fmt.Errorf("sweep volumes: %w", err)
	}
	return os.RemoveAll(target)
}
