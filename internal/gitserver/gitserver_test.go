package gitserver_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/gitserver"
)

// wantSHA is the commit of sampleFiles; it pins names, dates, modes and message.
const wantSHA = "dea1f650c2d562e1d251c00de04acd6e642e8acb"

func sampleFiles() map[string]string {
	return map[string]string{
		"README.md":       "a sample\n",
		"bin/run.sh":      "#!/bin/sh\necho run\n",
		"docs/größe.txt":  "non-ASCII name\n",
		".gitignore":      "ignored.txt\n",
		"src/ignored.txt": "committed all the same\n",
	}
}

func TestCreateRepositoryIsDeterministic(t *testing.T) {
	// The caller's identity and configuration must not reach the commit.
	t.Setenv("GIT_AUTHOR_NAME", "somebody else")
	t.Setenv("TZ", "Asia/Tokyo")
	sha, err := gitserver.CreateRepository(filepath.Join(t.TempDir(), "a.git"), sampleFiles())
	if err != nil {
		t.Fatal(err)
	}
	if sha != wantSHA {
		t.Errorf("commit %s, want %s", sha, wantSHA)
	}
}

func TestCreateRepositoryRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		dir   string
		files map[string]string
		want  string
	}{
		"a directory in use":     {full, sampleFiles(), "not empty"},
		"no files":               {filepath.Join(t.TempDir(), "r.git"), nil, "no files"},
		"a path out of the tree": {filepath.Join(t.TempDir(), "r.git"), map[string]string{"../x": "y"}, "leaves the repository"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := gitserver.CreateRepository(tt.dir, tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestHandlerServesCloneAndRefusesPush(t *testing.T) {
	root := t.TempDir()
	sha, err := gitserver.CreateRepository(filepath.Join(root, "demo", "app.git"), sampleFiles())
	if err != nil {
		t.Fatal(err)
	}
	handler, err := gitserver.Handler(root)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	clone := filepath.Join(t.TempDir(), "clone")
	// As a job does: with a user and token in the URL.
	url := strings.Replace(server.URL, "http://", "http://gitlab-ci-token:secret@", 1) + "/demo/app.git"
	mustGit(t, ".", "clone", "--quiet", url, clone)
	if got := mustGit(t, clone, "rev-parse", "HEAD"); got != sha {
		t.Errorf("cloned %s, want %s", got, sha)
	}
	files, err := gitserver.FilesOf(clone)
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if strings.HasPrefix(name, ".git/") {
			delete(files, name)
		}
	}
	if diff := cmp.Diff(sampleFiles(), files); diff != "" {
		t.Errorf("cloned files (-want +got):\n%s", diff)
	}

	push := exec.Command("git", "-C", clone, "push", url, "HEAD:refs/heads/other")
	push.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	if out, err := push.CombinedOutput(); err == nil {
		t.Errorf("push went through: %s", out)
	}
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL="+os.DevNull)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
