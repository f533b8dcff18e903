package images

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Annotations of an image in a layout's index.json that hold its reference;
// containerd's is always complete, the specification's may be a tag alone.
const (
	containerdName = "io.containerd.image.name"
	refName        = "org.opencontainers.image.ref.name"
)

// Layouts are the images of OCI layouts by their complete reference, such as
// index.docker.io/library/maven:3.
type Layouts map[string]v1.Image

// IsLayout tells whether dir is an OCI layout.
func IsLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

// Add takes the images of the layout at dir, under the references that its
// index.json gives them, or under ref where that is set and the layout holds one
// image for this machine. Where several are for this machine, the first counts.
func (l Layouts) Add(dir, ref string) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	found := map[string]v1.Image{}
	for _, d := range manifest.Manifests {
		called := ref
		if called == "" {
			called = nameOf(d)
		}
		full, err := name.ParseReference(called)
		if err != nil {
			continue // a tag alone, or nothing: nobody can ask for it
		}
		img, err := imageOf(index, d)
		if err != nil {
			return fmt.Errorf("OCI layout %s, image %s: %w", dir, called, err)
		}
		if img == nil || found[full.Name()] != nil && ref == "" {
			continue
		}
		if found[full.Name()] != nil {
			return fmt.Errorf("OCI layout %s holds several images: which of them is %s is not to be told", dir, ref)
		}
		found[full.Name()] = img
	}
	if len(found) == 0 {
		return fmt.Errorf("OCI layout %s holds no image for %s with a complete reference in the annotation %s or %s", dir, platform(), refName, containerdName)
	}
	maps.Copy(l, found)
	return nil
}

// Find gives the image that a reference stands for, nil where there is none.
func (l Layouts) Find(ref string) v1.Image {
	full, err := name.ParseReference(ref)
	if err != nil {
		return nil
	}
	return l[full.Name()]
}

func nameOf(d v1.Descriptor) string {
	if n := d.Annotations[containerdName]; n != "" {
		return n
	}
	return d.Annotations[refName]
}

// imageOf is the image behind a descriptor, or the one for this machine behind an
// index of several; nil where that is for other machines or no image.
func imageOf(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	if d.Platform != nil && !d.Platform.Satisfies(platform()) {
		return nil, nil
	}
	if d.MediaType.IsImage() {
		return index.Image(d.Digest)
	}
	if !d.MediaType.IsIndex() {
		return nil, nil
	}
	inner, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := inner.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if img, err := imageOf(inner, d); img != nil || err != nil {
			return img, err
		}
	}
	return nil, nil
}

// platform is this machine's, for which images are chosen.
func platform() v1.Platform {
	return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
}
