package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is an unpacked image.
type Image struct {
	ID         string   // digest of its configuration, sha256:...
	Root       string   // its root file system, shared: never to be written to
	Env        []string // KEY=VALUE
	User       string   // "", or USER[:GROUP] of names and numbers
	WorkingDir string
	Entrypoint []string
	Cmd        []string
	StopSignal string // "", or a name such as SIGQUIT, or a number
}

// unpacking is how the directories of images begin that are not complete.
const unpacking = "unpack-"

// Store keeps unpacked images in a directory. Its methods may be called from any
// goroutine; two processes can't share a directory.
type Store struct {
	dir string

	mu   sync.Mutex
	busy map[string]chan struct{} // image -> capacity 1: full while somebody unpacks it
}

// NewStore takes dir, created if absent, with the images that an earlier Store
// left complete. Nobody else may enter it: it holds programs with set-user-id bits.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, unpacking+"*"))
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(l))
	}
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return &Store{dir: dir, busy: map[string]chan struct{}{}}, nil
}

// Add unpacks an image unless it is there. Its configuration and its layers are
// held against their digests.
func (s *Store) Add(ctx context.Context, img v1.Image) (*Image, error) {
	cfg, id, err := configOf(img)
	if err != nil {
		return nil, err
	}
	if err := s.lock(ctx, id); err != nil {
		return nil, err
	}
	defer s.unlock(id)
	image := &Image{
		ID: id.String(), Root: filepath.Join(s.dir, id.Hex), Env: cfg.Config.Env, User: cfg.Config.User,
		WorkingDir: cfg.Config.WorkingDir, Entrypoint: cfg.Config.Entrypoint, Cmd: cfg.Config.Cmd, StopSignal: cfg.Config.StopSignal,
	}
	if _, err := os.Stat(image.Root); err == nil {
		return image, nil
	}
	tmp, err := os.MkdirTemp(s.dir, unpacking)
	if err != nil {
		return nil, fmt.Errorf("unpack image: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what stays is removed by the next NewStore
	if err := unpackImage(ctx, tmp, img, cfg.RootFS.DiffIDs); err != nil {
		return nil, fmt.Errorf("unpack image: %w", err)
	}
	if err := os.Rename(tmp, image.Root); err != nil {
		return nil, fmt.Errorf("unpack image: %w", err)
	}
	return image, nil
}

// configOf reads an image's configuration, and refuses one that is not what its
// manifest says, or that is for another machine.
func configOf(img v1.Image) (*v1.ConfigFile, v1.Hash, error) {
	want, err := img.ConfigName()
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("image manifest: %w", err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("image configuration: %w", err)
	}
	if got := hashOf(raw); got != want {
		return nil, v1.Hash{}, fmt.Errorf("image configuration: its digest is %s, its manifest says %s", got, want)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("image configuration: %w", err)
	}
	if os, arch := cfg.OS, cfg.Architecture; (os != "" && os != platform().OS) || (arch != "" && arch != runtime.GOARCH) {
		return nil, v1.Hash{}, errPlatform
	}
	return cfg, want, nil
}

func (s *Store) lock(ctx context.Context, id v1.Hash) error {
	s.mu.Lock()
	busy := s.busy[id.Hex]
	if busy == nil {
		busy = make(chan struct{}, 1)
		s.busy[id.Hex] = busy
	}
	s.mu.Unlock()
	select {
	case busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) unlock(id v1.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.busy[id.Hex]
}

// unpackImage lays all layers over dir, the lowest first.
func unpackImage(ctx context.Context, dir string, img v1.Image, diffIDs []v1.Hash) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) != len(diffIDs) {
		return fmt.Errorf("the manifest has %d layers, the configuration %d", len(layers), len(diffIDs))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Chmod(".", 0o755); err != nil { // past the mode of a temporary directory
		return err
	}
	for i, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		err = unpackLayer(ctx, dir, root, content, diffIDs[i])
		if err = errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, dir string, root *os.Root, content io.Reader, want v1.Hash) error {
	digest := newDigest()
	all := io.TeeReader(contextReader{ctx, content}, digest)
	u := unpacker{dir: dir, root: root, own: map[string]bool{}}
	if err := u.unpack(all); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, all); err != nil { // the padding behind the archive counts
		return err
	}
	if got := digest.hash(); got != want {
		return fmt.Errorf("its content has the digest %s, the configuration says %s", got, want)
	}
	return nil
}

// contextReader ends with its context, so that a group that is deleted does not
// wait for a large image.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// same tells whether two hosts are one; Docker Hub has several names.
func same(a, b string) bool { return hubName(a) == hubName(b) }

func hubName(host string) string {
	if slices.Contains([]string{"docker.io", "registry-1.docker.io"}, host) {
		return "index.docker.io"
	}
	return host
}
