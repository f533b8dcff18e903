package images_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/eci-executor/eci-executor/internal/images"
	"github.com/eci-executor/eci-executor/internal/testimage"
)

// tree lists a root file system: path, mode and what it holds.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%s %s", info.Mode(), rel)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s", content)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", to)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func newStore(t *testing.T) (*images.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := images.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func file(name, content string) testimage.Entry { return testimage.File(name, content, 0o644) }

// In each table a layer is what an image's layer is: entries of a tar file.
type layers [][]testimage.Entry

func (l layers) image(t *testing.T) v1.Image {
	t.Helper()
	var all []v1.Layer
	for _, entries := range l {
		all = append(all, testimage.Layer(t, entries...))
	}
	return testimage.Image(t, v1.Config{}, all...)
}

func TestUnpack(t *testing.T) {
	dir, link, hard, sym := testimage.Dir, testimage.Link, testimage.Link, testimage.Symlink
	lower := []testimage.Entry{dir("a", 0o755), file("a/1", "one"), file("a/2", "two"), dir("a/b", 0o755), file("a/b/3", "three")}
	for _, tt := range []struct {
		name   string
		layers layers
		want   string
	}{
		{"files and modes", layers{{dir("./d", 0o750), testimage.File("./d/run", "x", 0o4755), file("/abs", "y"), file("no/parent", "z")}},
			"-rw-r--r-- abs y\ndrwxr-x--- d\nurwxr-xr-x d/run x\ndrwxr-xr-x no\n-rw-r--r-- no/parent z\n"},
		{"links", layers{{file("f", "x"), hard("h", "f"), hard("d/h", "/f"), sym("s", "/etc/passwd"), sym("up", "../../..")}},
			"drwxr-xr-x d\n-rw-r--r-- d/h x\n-rw-r--r-- f x\n-rw-r--r-- h x\nLrwxrwxrwx s -> /etc/passwd\nLrwxrwxrwx up -> ../../..\n"},
		{"a fifo, and no device", layers{{
			{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600}},
			{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}},
		}}, "prw------- fifo\n"},
		{"a whiteout", layers{lower, {file("a/.wh.1", ""), file("a/.wh.b", ""), file("a/.wh.absent", "")}},
			"drwxr-xr-x a\n-rw-r--r-- a/2 two\n"},
		{"a whiteout beside what its own layer brings", layers{lower, {dir("a/b", 0o755), file("a/b/4", "four"), file("a/.wh.b", "")}},
			"drwxr-xr-x a\n-rw-r--r-- a/1 one\n-rw-r--r-- a/2 two\ndrwxr-xr-x a/b\n-rw-r--r-- a/b/4 four\n"},
		{"an opaque directory, told last", layers{lower, {dir("a", 0o700), file("a/5", "five"), file("a/.wh..wh..opq", "")}},
			"drwx------ a\n-rw-r--r-- a/5 five\n"},
		{"aufs's own files", layers{{file(".wh..wh.plnk", ""), file("f", "x")}}, "-rw-r--r-- f x\n"},
		{"other kinds replaced", layers{lower, {file("a/b", "file"), dir("a/1", 0o755), sym("a/2", "1")}},
			"drwxr-xr-x a\ndrwxr-xr-x a/1\nLrwxrwxrwx a/2 -> 1\n-rw-r--r-- a/b file\n"},
		{"a directory keeps what is in it", layers{lower, {dir("a", 0o711)}},
			"drwx--x--x a\n-rw-r--r-- a/1 one\n-rw-r--r-- a/2 two\ndrwxr-xr-x a/b\n-rw-r--r-- a/b/3 three\n"},
		{"through an absolute link, inside the image", layers{{dir("run", 0o755), sym("var", "/run")}, {file("var/pid", "1"), link("p", "var/pid")}},
			"-rw-r--r-- p 1\ndrwxr-xr-x run\n-rw-r--r-- run/pid 1\nLrwxrwxrwx var -> /run\n"},
		{"a link replaced by its target's name", layers{{file("real", "x"), sym("l", "real")}, {file("l", "y")}},
			"-rw-r--r-- l y\n-rw-r--r-- real x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			img, err := s.Add(context.Background(), tt.layers.image(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := tree(t, img.Root); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// Whatever an archive holds, nothing is made or changed outside, and what is
// refused leaves nothing in the store.
func TestUnpackHostile(t *testing.T) {
	link, sym := testimage.Link, testimage.Symlink
	up := "../../../../../../../../"
	for _, tt := range []struct {
		name   string
		layers func(outside string) layers
		want   string // of the error; "" where it is unpacked inside
	}{
		{"a name that leads out", func(string) layers { return layers{{file("../f", "x")}} }, "it leads out of the image"},
		{"a name that leads out on the way", func(string) layers { return layers{{file("a/../../f", "x")}} }, "it leads out of the image"},
		{"a directory that leads out", func(string) layers { return layers{{testimage.Dir("..", 0o777)}} }, "it leads out of the image"},
		{"through a link upwards", func(o string) layers { return layers{{sym("l", up+o[1:]), file("l/victim", "x")}} }, ""},
		{"through an absolute link", func(o string) layers { return layers{{sym("l", o), file("l/victim", "x")}} }, ""},
		{"through a link of a lower layer", func(o string) layers { return layers{{sym("l", o)}, {file("l/victim", "x")}} }, ""},
		{"through two links", func(o string) layers { return layers{{sym("k", ".."), sym("l", "k/"+up+o[1:]), file("l/victim", "x")}} }, ""},
		{"onto a link", func(o string) layers { return layers{{sym("l", o+"/victim"), file("l", "x")}} }, ""},
		{"mode and owner of a link", func(o string) layers {
			return layers{{{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: o + "/victim", Mode: 0o666}}}}
		}, ""},
		{"a hard link out by name", func(o string) layers { return layers{{link("h", up+o[1:]+"/victim")}} }, "it leads out of the image"},
		{"a hard link out by a link", func(o string) layers { return layers{{sym("l", o), link("h", "l/victim"), file("h", "x")}} }, "no such file"},
		{"a hard link to a link, written to", func(o string) layers { return layers{{sym("l", o+"/victim"), link("h", "l"), file("h", "x")}} }, ""},
		{"a whiteout of the parent", func(string) layers { return layers{{file("a/.wh...", "")}} }, "a whiteout of no name"},
		{"a whiteout of the directory", func(string) layers { return layers{{file(".wh..", "")}} }, "a whiteout of no name"},
		{"a whiteout through a link", func(o string) layers { return layers{{sym("l", o)}, {file("l/.wh.victim", "")}} }, ""},
		{"an opaque link", func(o string) layers { return layers{{sym("l", o)}, {file("l/.wh..wh..opq", "")}} }, ""},
		{"links in a circle", func(string) layers { return layers{{sym("a", "b"), sym("b", "a"), file("a/f", "x")}} }, "too many levels of symbolic links"},
		{"an unknown kind", func(string) layers { return layers{{{Header: tar.Header{Typeflag: '7', Name: "f"}}}} }, "unknown type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outside := t.TempDir()
			victim := filepath.Join(outside, "victim")
			if err := os.WriteFile(victim, []byte("untouched"), 0o640); err != nil {
				t.Fatal(err)
			}
			s, dir := newStore(t)
			before := tree(t, filepath.Dir(outside))
			_, err := s.Add(context.Background(), tt.layers(outside).image(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if entries, _ := os.ReadDir(dir); err != nil && len(entries) > 0 {
				t.Errorf("the store holds %v", entries)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if after := tree(t, filepath.Dir(outside)); after != before {
				t.Errorf("outside was\n%sand is\n%s", before, after)
			}
		})
	}
}

// An image is unpacked once, whoever asks for it, and again by another Store
// only where the first did not come to its end.
func TestStore(t *testing.T) {
	s, dir := newStore(t)
	img := layers{{file("f", "x")}}.image(t)
	first, err := s.Add(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(first.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "unpack-half"), 0o700); err != nil {
		t.Fatal(err)
	}
	next, err := images.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*images.Store{"the same store": s, "a later store": next} {
		again, err := s.Add(context.Background(), img)
		if err != nil || again.Root != first.Root || again.ID != first.ID {
			t.Fatalf("%s: %+v, %v", name, again, err)
		}
		if now, err := os.Stat(again.Root); err != nil || !os.SameFile(now, info) {
			t.Errorf("%s unpacked it again (%v)", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Add(ctx, layers{{file("g", "x")}}.image(t)); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("a pull that is called off: %v", err)
	}
}

func TestLayouts(t *testing.T) {
	a, b := layers{{file("a", "")}}.image(t), layers{{file("b", "")}}.image(t)
	for _, tt := range []struct {
		name   string
		images map[string]v1.Image // of the layout, by annotation
		as     string
		want   []string // references that are found
		err    string
	}{
		{"by complete references", map[string]v1.Image{"registry.example/a:1": a, "docker.io/library/b:2": b}, "", []string{"registry.example/a:1", "b:2", "docker.io/library/b:2"}, ""},
		{"a tag alone counts as the name of Docker Hub's", map[string]v1.Image{"b": b}, "", []string{"b", "docker.io/library/b:latest"}, ""},
		{"under another name", map[string]v1.Image{"registry.example/a:1": a}, "host:5000/x:y", []string{"host:5000/x:y"}, ""},
		{"without a name, named", map[string]v1.Image{"": a}, "x", []string{"x:latest"}, ""},
		{"without a name", map[string]v1.Image{"": a}, "", nil, "holds no image"},
		{"several under one name", map[string]v1.Image{"a": a, "b": b}, "x", nil, "several images"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			testimage.WriteLayout(t, dir, tt.images)
			if !images.IsLayout(dir) {
				t.Error("it is not seen to be a layout")
			}
			l := images.Layouts{}
			err := l.Add(dir, tt.as)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range tt.want {
				if l.Find(ref) == nil {
					t.Errorf("no %s among %v", ref, slices.Sorted(maps.Keys(l)))
				}
			}
			if l.Find("registry.example/other:1") != nil || l.Find("no reference!") != nil {
				t.Error("an image that is not there is found")
			}
		})
	}
	if err := (images.Layouts{}).Add(t.TempDir(), ""); err == nil {
		t.Error("an empty directory is a layout")
	}
}

// A layout whose files were changed behind its digests is refused.
func TestLayoutThatWasTamperedWith(t *testing.T) {
	dir := t.TempDir()
	img := layers{{file("f", strings.Repeat("x", 1000))}}.image(t)
	testimage.WriteLayout(t, dir, map[string]v1.Image{"x": img})
	other := testimage.Layer(t, file("f", strings.Repeat("y", 1000)))
	content, err := other.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	digest, err := first(img).Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.Create(filepath.Join(dir, "blobs", "sha256", digest.Hex))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.ReadFrom(content); err != nil {
		t.Fatal(err)
	}
	if err := blob.Close(); err != nil {
		t.Fatal(err)
	}
	l := images.Layouts{}
	if err := l.Add(dir, ""); err != nil {
		t.Fatal(err)
	}
	s, _ := newStore(t)
	if _, err := s.Add(context.Background(), l.Find("x")); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("error %v", err)
	}
}

func first(img v1.Image) v1.Layer {
	all, _ := img.Layers()
	return all[0]
}
