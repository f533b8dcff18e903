package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// Whiteouts, by the image specification: entries that take away what lower
// layers have.
const (
	whiteout      = ".wh."            // before the name of what goes
	opaque        = ".wh..wh..opq"    // all that the directory has
	whiteoutOther = whiteout + ".wh." // aufs's own files: not part of the image
)

// unpacker lays one layer over a root file system. Links in there, of this layer
// or a lower one, are followed inside the root, as a container would follow them;
// os.Root sees to it that nothing is ever made outside.
type unpacker struct {
	dir  string // the root's path
	root *os.Root
	own  map[string]bool // paths of this layer, parents included, which its whiteouts spare
}

func (u *unpacker) unpack(layer io.Reader) error {
	r := tar.NewReader(layer)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, r); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return u.attributes(name, h)
	}
	parent, err := u.resolve(path.Dir(name))
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	switch base := path.Base(name); {
	case base == opaque:
		return u.clearInside(parent)
	case strings.HasPrefix(base, whiteoutOther):
		return nil
	case strings.HasPrefix(base, whiteout):
		hidden := base[len(whiteout):]
		if hidden == "" || hidden == "." || hidden == ".." {
			return errors.New("a whiteout of no name")
		}
		return u.clear(path.Join(parent, hidden))
	default:
		at := path.Join(parent, base)
		for p := at; p != "."; p = path.Dir(p) {
			u.own[p] = true
		}
		return u.create(at, h, content)
	}
}

// inside is a name of the archive as a path relative to the root.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if !filepath.IsLocal(clean) {
		return "", errors.New("it leads out of the image")
	}
	return clean, nil
}

// resolve follows the links in a path inside the root; what is missing stays as
// it is named.
func (u *unpacker) resolve(name string) (string, error) {
	full, err := securejoin.SecureJoin(u.dir, name)
	if err != nil {
		return "", err
	}
	return filepath.Rel(u.dir, full)
}

// create makes one file. What was there goes, but a directory that is to be one.
func (u *unpacker) create(at string, h *tar.Header, content io.Reader) error {
	old, err := u.root.Lstat(at)
	exists := err == nil
	if exists && (!old.IsDir() || h.Typeflag != tar.TypeDir) {
		if err := u.root.RemoveAll(at); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = nil
		if !exists || !old.IsDir() {
			err = u.root.Mkdir(at, 0o755)
		}
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.file(at, content)
	case tar.TypeSymlink:
		err = u.root.Symlink(h.Linkname, at) // wherever to: it counts inside the container
	case tar.TypeLink:
		return u.link(at, h.Linkname)
	case tar.TypeFifo:
		err = u.fifo(at)
	case tar.TypeChar, tar.TypeBlock:
		return nil // could not be opened: containers' roots are mounted nodev
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.attributes(at, h)
}

func (u *unpacker) file(at string, content io.Reader) error {
	f, err := u.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// link makes a hard link. Its target's parents are followed, the target is not.
func (u *unpacker) link(at, target string) error {
	to, err := inside(target)
	if err != nil {
		return fmt.Errorf("link to %q: %w", target, err)
	}
	parent, err := u.resolve(path.Dir(to))
	if err != nil {
		return err
	}
	return u.root.Link(path.Join(parent, path.Base(to)), at)
}

func (u *unpacker) fifo(at string) error {
	dir, err := u.root.Open(path.Dir(at))
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Mkfifoat(int(dir.Fd()), path.Base(at), 0o600)
}

// attributes sets owner, mode and time. File capabilities are left out: no
// container gains rights by an exec.
func (u *unpacker) attributes(at string, h *tar.Header) error {
	// In a user namespace most owners do not exist: the file is then root's.
	if err := u.root.Lchown(at, h.Uid, h.Gid); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	const bits = os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky
	if err := u.root.Chmod(at, h.FileInfo().Mode()&bits); err != nil { // after the owner, whose change clears bits
		return err
	}
	return u.root.Chtimes(at, h.ModTime, h.ModTime)
}

// clear takes away what lower layers have at a path.
func (u *unpacker) clear(at string) error {
	if !u.own[at] {
		return u.root.RemoveAll(at)
	}
	info, err := u.root.Lstat(at)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.IsDir() {
		return nil // a device, which is left out, or this layer's own file
	}
	if err != nil {
		return err
	}
	return u.clearInside(at)
}

func (u *unpacker) clearInside(dir string) error {
	d, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := u.clear(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
