// Package realrunner builds the gitlab-runner that tests and the benchmark put in front
// of the driver.
package realrunner

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	version = "19.4.0"
	common  = "gitlab.com/gitlab-org/gitlab-runner/common"
)

// Build returns the path of a real gitlab-runner from a source folder, which is
// test/e2e/runner: built once per machine, content of the folder and Go version, in 85 s
// with an empty build cache.
func Build(source string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "cache") // no HOME, as in some CI systems
	}
	sum, err := hashDir(source)
	if err != nil {
		return "", fmt.Errorf("hash the runner's source: %w", err)
	}
	dir := filepath.Join(cache, "eci-executor-e2e", sum)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "gitlab-runner")
	if err := buildOnce(source, dir, binary); err != nil {
		return "", fmt.Errorf("build the real gitlab-runner: %w", err)
	}
	return binary, nil
}

// buildOnce builds binary unless it is there. The lock keeps processes that start at the
// same time from building it twice; the rename keeps a build that was cut short from
// being taken for one.
func buildOnce(source, dir, binary string) (err error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(binary); err == nil {
		return nil
	}
	ldflags := "-s -w -X " + common + ".VERSION=" + version + " -X " + common + ".REVISION=fc1f1862"
	if err := GoBuild(source, binary+".new", "-ldflags", ldflags, "."); err != nil {
		return err
	}
	return os.Rename(binary+".new", binary)
}

// hashDir is a digest over names and contents below dir, the Go version and
// the platform.
func hashDir(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH) //nolint:errcheck // a hash takes all
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(dir), path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()       // it was only read
		fmt.Fprintln(h, name) //nolint:errcheck // a hash takes all
		_, err = io.Copy(h, f)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil))[:16], err
}

// GoBuild runs go build with args in a module's folder, for a static binary.
func GoBuild(dir, output string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", output}, args...)...) //nolint:gosec // our own arguments
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, bytes.TrimSpace(out))
	}
	return nil
}
