package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// sourcesSent are jobs with each way to their sources.
func sourcesSent(sha string) []sent {
	have := []string{`printf 'version:%s\n' "$(cat VERSION 2>/dev/null || echo none)"`}
	return []sent{
		{name: "GIT_STRATEGY clone", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "clone"), Script: have}, traces: []string{"\nversion:1.4.2\n"}},
		{name: "GIT_STRATEGY fetch", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "fetch"), Script: have}, traces: []string{"\nversion:1.4.2\n"}},
		{name: "GIT_STRATEGY none", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "none"), Script: have}, traces: []string{"\nversion:none\n"}},
		{name: "GIT_STRATEGY empty", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "empty"), Script: have}, traces: []string{"\nversion:none\n"}},
		{
			name:   "GIT_CLONE_PATH",
			job:    coordinator.Job{SHA: sha, Variables: public("GIT_CLONE_PATH", "$CI_BUILDS_DIR/else/where"), Script: append([]string{`printf 'at:%s\n' "$PWD"`}, have...)},
			traces: []string{"\nat:/builds/else/where\n", "\nversion:1.4.2\n"},
		},
		{
			name:   "GIT_CHECKOUT false",
			job:    coordinator.Job{SHA: sha, Variables: public("GIT_CHECKOUT", "false"), Script: append([]string{"git checkout -q " + sha}, have...)},
			traces: []string{"Skipping Git checkout", "\nversion:1.4.2\n"},
		},
		{
			name: "git in the script",
			job: coordinator.Job{SHA: sha, Script: []string{
				"git fetch -q origin main", `printf 'fetched:%s\n' "$(git rev-parse FETCH_HEAD)"`, `printf 'ca:%s\n' "$(head -n 1 "$CI_SERVER_TLS_CA_FILE")"`,
			}},
			traces: []string{"\nfetched:" + sha + "\n", "\nca:-----BEGIN CERTIFICATE-----\n"},
		},
	}
}

// largeFile is in LFS.
var largeFile = []byte(strings.Repeat("large ", 50_000))

// projectsSent are jobs of projects with more than files: demo/assets at sha, with a file
// in LFS, and a branch of demo/app that has this one as a submodule.
func projectsSent(sha, branch string) []sent {
	return []sent{
		{
			name:   "LFS",
			job:    coordinator.Job{ProjectPath: "demo/assets", SHA: sha, Script: []string{`printf 'large:%d\n' "$(wc -c <large.bin)"`}},
			traces: []string{"\nlarge:300000\n"},
		},
		{
			name: "GIT_LFS_SKIP_SMUDGE, and git lfs in the script",
			job: coordinator.Job{ProjectPath: "demo/assets", SHA: sha, Variables: public("GIT_LFS_SKIP_SMUDGE", "1"), Script: []string{
				`printf 'large:%s\n' "$(head -n 1 large.bin)"`, "unset GIT_LFS_SKIP_SMUDGE && git lfs pull", `printf 'large:%d\n' "$(wc -c <large.bin)"`,
			}},
			traces: []string{"\nlarge:version https://git-lfs.github.com/spec/v1\n", "\nlarge:300000\n"},
		},
		{
			name: "a submodule with LFS",
			job: coordinator.Job{SHA: branch, Ref: "with-submodule", Variables: public("GIT_SUBMODULE_STRATEGY", "recursive", "GIT_SUBMODULE_DEPTH", "1"),
				Script: []string{"cat sub/inside", `printf 'large:%d\n' "$(wc -c <sub/large.bin)"`}},
			traces: []string{"\nof the submodule\n", "\nlarge:300000\n"},
		},
		{
			name: "GIT_DEPTH, without submodules",
			job: coordinator.Job{SHA: branch, Ref: "with-submodule", Depth: 1,
				Script: []string{`printf 'commits:%d sub:%s\n' "$(git rev-list --count HEAD)" "$(ls sub)"`}},
			traces: []string{"git depth set to 1", "\ncommits:1 sub:\n"},
		},
	}
}

// addProjects makes demo/assets and the branch, whose submodule has a relative URL as
// GitLab advises, and returns their commits.
func (e *env) addProjects() (sha, branch string) {
	e.Helper()
	dir := filepath.Join(e.repos, "demo", "assets.git")
	objects := e.TempDir()
	pointer, err := gitserver.AddLFSObject(objects, largeFile)
	if err != nil {
		e.Fatal(err)
	}
	sha, err = gitserver.CreateRepository(dir, map[string]string{
		".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "large.bin": pointer, "inside": "of the submodule\n",
	})
	if err != nil {
		e.Fatal(err)
	}
	if err := os.Rename(filepath.Join(objects, "lfs"), filepath.Join(dir, "lfs")); err != nil {
		e.Fatal(err)
	}
	return sha, e.withSubmodule("../assets.git")
}

// withSubmodule adds a commit with the submodule sub to a branch of demo/app.
func (e *env) withSubmodule(url string) (sha string) {
	e.Helper()
	work := filepath.Join(e.TempDir(), "app")
	git := func(args ...string) string {
		cmd := exec.CommandContext(e.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@localhost", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@localhost")
		out, err := cmd.CombinedOutput()
		if err != nil {
			e.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "-q", filepath.Join(e.repos, "demo", "app.git"), work)
	git("-C", work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "sub")
	git("-C", work, "commit", "-q", "-m", "Add a submodule")
	git("-C", work, "push", "-q", "origin", "HEAD:refs/heads/with-submodule")
	return git("-C", work, "rev-parse", "HEAD")
}

// needLFS skips a test where git-lfs is not installed; in CI it fails. It comes before the
// runner is started, which a SIGQUIT right after that kills.
func needLFS(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git-lfs"); err != nil {
		const text = "git-lfs is not installed: apt-get install git-lfs"
		testneed.Need(t, errors.New(text))
	}
}
