package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// A real runner's job reads a file of the runner's host, and an EmptyDir that helper and
// build share.
func TestVolumesWithRunner(t *testing.T) {
	needContainers(t)
	file := filepath.Join(t.TempDir(), "settings.xml")
	if err := os.WriteFile(file, []byte("<settings>$HOME</settings>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newDriverEnv(t, driverSetup{concurrent: 1, file: fmt.Sprintf(`[[volume]]
name = "maven"
type = "secret"
mount_path = "/etc/ci-maven"
files = { "settings.xml" = %q }
containers = ["build"]
[[volume]]
name = "scratch"
type = "empty_dir"
mount_path = "/scratch"
medium = "memory"
`, file)})
	done := e.mustSucceed(e.enqueue(coordinator.Job{SHA: e.sha, Script: []string{
		`sed 's/^/found: /' /etc/ci-maven/settings.xml`, `echo x >/scratch/x && echo written $((20+3))`}}))
	for _, text := range []string{"found: <settings>$HOME</settings>\n", "written 23\n"} {
		if !bytes.Contains(done.Trace, []byte(text)) {
			t.Errorf("the trace lacks %q", text)
		}
	}
}
