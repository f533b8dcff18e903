package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/eci-executor/eci-executor/test/e2e/realrunner"
)

// buildRunner returns the path of a real gitlab-runner.
func buildRunner(t testing.TB) string {
	t.Helper()
	binary, err := realrunner.Build("runner")
	if err != nil {
		t.Fatal(err)
	}
	return binary
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
		driver.err = realrunner.GoBuild(filepath.Join("..", ".."), driver.binary, "./cmd/eci-executor")
	})
	if driver.err != nil {
		t.Fatalf("build the driver: %v", driver.err)
	}
	return driver.binary
}
