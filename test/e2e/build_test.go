package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

const (
	runnerVersion = "19.4.0"
	runnerPackage = "gitlab.com/gitlab-org/gitlab-runner/common"
)

// buildRunner returns the path of a real gitlab-runner, built once per machine,
// content of the folder runner and Go version: 85 s with an empty build cache.
func buildRunner(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "cache") // no HOME, as in some CI systems
	}
	sum, err := hashDir("runner")
	if err != nil {
		t.Fatalf("hash the runner's source: %v", err)
	}
	dir := filepath.Join(cache, "eci-executor-e2e", sum)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "gitlab-runner")
	if err := buildOnce(dir, binary); err != nil {
		t.Fatalf("build the real gitlab-runner: %v", err)
	}
	return binary
}

// buildOnce builds binary unless it is there. The lock keeps test processes
// that start at the same time from building it twice; the rename keeps a build
// that was cut short from being taken for one.
func buildOnce(dir, binary string) (err error) {
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
	ldflags := "-s -w -X " + runnerPackage + ".VERSION=" + runnerVersion + " -X " + runnerPackage + ".REVISION=fc1f1862"
	if err := goBuild("runner", binary+".new", "-ldflags", ldflags, "."); err != nil {
		return err
	}
	return os.Rename(binary+".new", binary)
}

// hashDir is a digest over names and contents below dir, the Go version and
// the platform.
func hashDir(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintln(h, path)
		_, err = io.Copy(h, f)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil))[:16], err
}

// driverBuild is the binary under test, built once per test process.
type driverBuild struct {
	once   sync.Once
	dir    string
	binary string
	err    error
}

var driver driverBuild

func TestMain(m *testing.M) {
	flag.Parse()
	// Jobs wait more than they compute: unless told otherwise, twice as many at once.
	if parallel := flag.Lookup("test.parallel").Value; parallel.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(driver.dir) // a temporary directory, or "" when nothing was built
	os.Exit(code)
}

// buildDriver returns the path of eci-executor, built from this tree.
func buildDriver(t testing.TB) string {
	t.Helper()
	driver.once.Do(func() {
		if driver.dir, driver.err = os.MkdirTemp("", "eci-executor-e2e-"); driver.err != nil {
			return
		}
		driver.binary = filepath.Join(driver.dir, "eci-executor")
		driver.err = goBuild(filepath.Join("..", ".."), driver.binary, "./cmd/eci-executor")
	})
	if driver.err != nil {
		t.Fatalf("build the driver: %v", driver.err)
	}
	return driver.binary
}

func goBuild(dir, output string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", output}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, bytes.TrimSpace(out))
	}
	return nil
}
