// Package testneed ends the tests that need what this machine lacks. It installs nothing.
package testneed

import (
	"os"
	"testing"
)

// Need skips the test where missing is not nil: what the test can't do without, and how
// to have it. In CI (the variable CI is set), which must test for real, it fails.
func Need(t testing.TB, missing error) {
	t.Helper()
	switch {
	case missing == nil:
	case os.Getenv("CI") != "":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}
