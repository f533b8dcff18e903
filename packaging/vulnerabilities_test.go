package packaging

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A database of one made-up vulnerability, of all versions of a module that the program
// needs, as https://go.dev/doc/security/vuln/database has it.
var madeUp = map[string]string{
	"index/db.json":      `{"modified": "2026-01-01T00:00:00Z"}`,
	"index/modules.json": `[{"path": "github.com/coder/websocket", "vulns": [{"id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z"}]}]`,
	"ID/GO-2026-9999.json": `{"schema_version": "1.3.1", "id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z", "summary": "made up", "details": "made up",
		"database_specific": {"url": "https://pkg.go.dev/vuln/GO-2026-9999"}, "affected": [{
		"package": {"name": "github.com/coder/websocket", "ecosystem": "Go"},
		"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
		"ecosystem_specific": {"imports": [{"path": "github.com/coder/websocket"}]}}]}`,
}

// A vulnerability is found where there is one; where the database can't be reached, that
// is said, and no failure.
func TestVulnerabilities(t *testing.T) {
	db := t.TempDir()
	for name, content := range madeUp {
		path := filepath.Join(db, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		args   []string
		env    string
		status int
		want   string
	}{
		"one is known":           {args: []string{"-scan", "package", "-db", "file://" + db}, status: 3, want: "GO-2026-9999"},
		"the database is not up": {args: []string{"-scan", "package"}, env: "HTTPS_PROXY=http://127.0.0.1:1", want: "can't be reached from here"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("../.ci/vulnerabilities", test.args...)
			if test.env != "" {
				cmd.Env = append(os.Environ(), test.env)
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if status := cmd.ProcessState.ExitCode(); status != test.status || !strings.Contains(string(out), test.want) {
				t.Errorf("status %d, want %d and %q:\n%s", status, test.status, test.want, out)
			}
		})
	}
}
