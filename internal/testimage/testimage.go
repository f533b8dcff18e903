// Package testimage builds tiny images out of the host's busybox, roots of Debian's packages, OCI layouts of
// them, and registries that serve them, for the tests of several packages.
package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// applets are the programs of the image, each a hard link to busybox.
const applets = "ash cat chmod cp echo env false grep id kill ln ls mkdir mkfifo mv pwd rm sed sh sleep tail touch true uname wc"

// Busybox is an image of the host's busybox in /bin with the files, by absolute
// path, in a second layer and change applied to its configuration. It skips the
// test where there is no static busybox, except in CI, where it fails.
func Busybox(t testing.TB, files map[string]string, change func(*v1.Config)) v1.Image {
	t.Helper()
	cfg := v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}
	if change != nil {
		change(&cfg)
	}
	return Image(t, cfg, busyboxLayer(t), FileLayer(t, files))
}

// Image is an image of layers, the lowest first, for this machine.
func Image(t testing.TB, cfg v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	check(t, err)
	file, err := img.ConfigFile()
	check(t, err)
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = cfg, "linux", goarch
	img, err = mutate.ConfigFile(img, file)
	check(t, err)
	return img
}

// Layer is a layer of tar entries; Size is set from the content of each.
func Layer(t testing.TB, entries ...Entry) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.Content))
		if e.Mode == 0 {
			e.Mode = 0o644
		}
		check(t, w.WriteHeader(&e.Header))
		_, err := w.Write(e.Content)
		check(t, err)
	}
	check(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	check(t, err)
	return layer
}

// Entry is a tar entry with its content.
type Entry struct {
	tar.Header
	Content []byte
}

// FileLayer is a layer of regular files by absolute path.
func FileLayer(t testing.TB, files map[string]string) v1.Layer {
	t.Helper()
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, File(name, files[name], 0o644))
	}
	return Layer(t, entries...)
}

// File is a regular file's entry.
func File(name, content string, mode int64) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: time.Unix(1e9, 0)}, []byte(content)}
}

// Dir is a directory's entry.
func Dir(name string, mode int64) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: time.Unix(1e9, 0)}, nil}
}

// Symlink and Link are the entries of a symbolic and a hard link.
func Symlink(name, to string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil}
}

// Link is a hard link's entry.
func Link(name, to string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}, nil}
}

func busyboxLayer(t testing.TB) v1.Layer {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		testneed.Need(t, fmt.Errorf("%w: install busybox-static", err))
	}
	program, err := os.ReadFile(file)
	check(t, err)
	entries := []Entry{Dir("bin", 0o755), Dir("etc", 0o755), Dir("tmp", 0o1777), Dir("root", 0o700), File("bin/busybox", string(program), 0o755)}
	for a := range bytes.FieldsSeq([]byte(applets)) {
		entries = append(entries, Link(path.Join("bin", string(a)), "bin/busybox"))
	}
	return Layer(t, entries...)
}

// WriteLayout makes an OCI layout at dir of images by their reference.
func WriteLayout(t testing.TB, dir string, images map[string]v1.Image) {
	t.Helper()
	at, err := layout.Write(dir, empty.Index)
	check(t, err)
	for _, ref := range slices.Sorted(maps.Keys(images)) {
		var options []layout.Option
		if ref != "" {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
		}
		check(t, at.AppendImage(images[ref], options...))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
