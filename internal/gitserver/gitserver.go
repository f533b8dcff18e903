// Package gitserver serves bare git repositories over smart HTTP and makes
// small ones whose commit is the same on every machine. The end-to-end tests
// and the demo command clone from it, as a job clones from GitLab.
//
// It is no GitLab: it serves reads only, LFS objects among them, to anybody, and
// ignores the credentials in a URL. It needs git with its http-backend on the machine.
package gitserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Branch is the only branch of a repository made by CreateRepository, and the
// one its HEAD names.
const Branch = "main"

// commitDate stands for author and committer date; with fixed names it makes a
// commit's hash depend on its files alone.
const commitDate = "2025-01-01T00:00:00+0000"

// Handler serves each bare repository below root under its path relative to
// root ("/demo/app.git" for root/demo/app.git), through git http-backend. The
// error says that git or its http-backend is missing.
func Handler(root string) (http.Handler, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("git server root: %w", err)
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	out, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		return nil, fmt.Errorf("git server: git is installed without its http-backend: %w", err)
	}
	return lfs(root, &cgi.Handler{
		Path: backend,
		Dir:  root,
		Env:  serverEnv(root),
		// A client that goes away ends the backend with a broken pipe; that
		// is its own affair and none of the test output's.
		Stderr: io.Discard,
	}), nil
}

// serverEnv is what http-backend needs beyond the CGI variables. The owner
// check is off because the server may run in a user namespace, where the files'
// owner looks like a stranger. Pushes stay refused, which is the default
// without REMOTE_USER.
func serverEnv(root string) []string {
	return append([]string{
		"GIT_PROJECT_ROOT=" + root,
		"GIT_HTTP_EXPORT_ALL=1",
		"HOME=" + root,
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=safe.directory",
		"GIT_CONFIG_VALUE_0=*",
	}, isolation()...)
}

// isolation keeps the machine's own git configuration out of what git does.
func isolation() []string {
	return []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0"}
}

// CreateRepository makes the bare repository dir with one commit on Branch that
// holds files (slash-separated path below the root -> content, mode 0644, or
// 0755 where the content starts with "#!"). It returns the commit's hash, 40
// hex digits, the same for the same files. dir must not exist or be empty.
func CreateRepository(dir string, files map[string]string) (sha string, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("create repository: %s is not empty", dir)
	}
	if len(files) == 0 {
		return "", errors.New("create repository: no files")
	}
	work, err := os.MkdirTemp("", "gitserver-")
	if err != nil {
		return "", fmt.Errorf("create repository: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := writeFiles(work, files); err != nil {
		return "", fmt.Errorf("create repository: %w", err)
	}
	repo := &repository{dir: dir, work: work}
	if err := repo.init(); err != nil {
		return "", fmt.Errorf("create repository %s: %w", dir, err)
	}
	sha, err = repo.commit()
	if err != nil {
		return "", fmt.Errorf("create repository %s: %w", dir, err)
	}
	return sha, nil
}

// FilesOf reads the regular files below dir into the form that CreateRepository
// takes.
func FilesOf(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)] = string(content)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read repository files: %w", err)
	}
	return files, nil
}

func writeFiles(dir string, files map[string]string) error {
	for name, content := range files {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("file name %q leaves the repository", name)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return err
		}
	}
	return nil
}

// repository is a bare repository at dir that is filled from the tree at work.
type repository struct{ dir, work string }

func (r *repository) init() error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	_, err := r.git("init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--initial-branch="+Branch)
	return err
}

// commit records the work tree on Branch by way of plumbing: no hooks, no
// signing, nothing of the user's configuration takes part.
func (r *repository) commit() (string, error) {
	if _, err := r.git("--work-tree="+r.work, "add", "--all", "--force", "."); err != nil {
		return "", err
	}
	tree, err := r.git("write-tree")
	if err != nil {
		return "", err
	}
	sha, err := r.git("commit-tree", "-m", "initial commit", tree)
	if err != nil {
		return "", err
	}
	if _, err := r.git("update-ref", "refs/heads/"+Branch, sha); err != nil {
		return "", err
	}
	return sha, nil
}

func (r *repository) git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"--git-dir=" + r.dir}, args...)...)
	cmd.Dir = r.work
	cmd.Env = append(withoutGit(os.Environ()), isolation()...)
	cmd.Env = append(cmd.Env,
		"GIT_AUTHOR_NAME=eci-executor", "GIT_AUTHOR_EMAIL=demo@example.com", "GIT_AUTHOR_DATE="+commitDate,
		"GIT_COMMITTER_NAME=eci-executor", "GIT_COMMITTER_EMAIL=demo@example.com", "GIT_COMMITTER_DATE="+commitDate,
	)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// withoutGit drops git's own variables: inside a git hook they would point at
// the repository that the tests run in.
func withoutGit(env []string) []string {
	var kept []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "GIT_") {
			kept = append(kept, kv)
		}
	}
	return kept
}
