package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// jobTimeout bounds the wait for one job; it is far above what one takes.
const jobTimeout = 3 * time.Minute

// env is what a scenario runs in: a stand-in for GitLab with one repository,
// and a runner that takes its jobs.
type env struct {
	*testing.T
	coord *coordinator.Coordinator
	git   *gate
	repos string // the directory of the repositories
	url   string // of coordinator and git server
	ca    string // the file with the CA of an https URL
	sha   string // the only commit of demo/app

	cacheDir string // the host directory behind the jobs' /cache
	cache    string // its path as a job sees it

	runner    *runner
	server    *ecitest.Server // only where the driver is the executor, ...
	witnessed string          // ... as is the directory of what its witness notes

	mu   sync.Mutex
	jobs []int64
	// diagnose adds what an executor has to say about a failure.
	diagnose []func() string
}

// repoFiles are the files of the repository that jobs clone.
func repoFiles(t *testing.T) map[string]string {
	t.Helper()
	files, err := gitserver.FilesOf(filepath.Join("..", "..", "testdata", "demo", "repo"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// newGitLab starts coordinator and git server on one address, which is https with a
// CA of its own where secure is set. On failure the test prints all that is known.
func newGitLab(t *testing.T, secure bool) *env {
	t.Helper()
	root := t.TempDir()
	sha, err := gitserver.CreateRepository(filepath.Join(root, "demo", "app.git"), repoFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	git, err := gitserver.Handler(root)
	if err != nil {
		t.Fatal(err)
	}
	e := &env{T: t, coord: coordinator.New(), git: &gate{next: git}, repos: root, sha: sha}
	mux := http.NewServeMux()
	mux.Handle("/api/v4/", e.coord)
	mux.Handle("/", e.git)
	server := httptest.NewUnstartedServer(mux)
	if secure {
		server.TLS, e.ca = ownCA(t)
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	e.url = server.URL
	t.Cleanup(e.report)
	return e
}

// newLocalEnv is an env whose executor is testdata/local.sh.
func newLocalEnv(t *testing.T, concurrent int) *env {
	t.Helper()
	e := newGitLab(t, false)
	dir := t.TempDir()
	script, err := filepath.Abs(filepath.Join("testdata", "local.sh"))
	if err != nil {
		t.Fatal(err)
	}
	e.cache = filepath.Join(dir, "cache")
	e.cacheDir = e.cache
	e.startRunner(dir, runnerConfig{Concurrent: concurrent, Exec: script, Args: []string{dir}})
	return e
}

// startRunner has a runner take the coordinator's jobs, with dir for its files.
func (e *env) startRunner(dir string, cfg runnerConfig) {
	e.Helper()
	cfg.URL = e.url
	if e.ca != "" {
		cfg.Keys += "\ntls-ca-file = " + tomlString(e.ca)
	}
	e.runner = startRunner(e.T, dir, cfg)
	e.diagnose = append(e.diagnose, func() string { return "runner log:\n" + e.runner.log() })
}

// address is the host and port of GitLab.
func (e *env) address() string {
	_, address, _ := strings.Cut(e.url, "://")
	return address
}

// enqueue adds a job and remembers it for the report.
func (e *env) enqueue(job coordinator.Job) int64 {
	if job.Image.Name == "" {
		job.Image.Name = "build:1"
	}
	id := e.coord.Enqueue(job)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.jobs = append(e.jobs, id)
	return id
}

// wait returns how the job ended and fails the test when it does not end or the
// runner broke the protocol.
func (e *env) wait(id int64) coordinator.Result {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), jobTimeout)
	defer cancel()
	result, err := e.coord.Wait(ctx, id)
	if err != nil {
		e.Fatalf("job %d: %v", id, err)
	}
	return result
}

// await waits for an event of a job.
func (e *env) await(event <-chan struct{}) {
	e.Helper()
	select {
	case <-event:
	case <-time.After(jobTimeout):
		e.Fatal("the job does not get there")
	}
}

// in is e for a subtest, which only looks at what has been enqueued.
func (e *env) in(t *testing.T) *env {
	return &env{T: t, coord: e.coord, cacheDir: e.cacheDir, cache: e.cache, runner: e.runner, server: e.server, witnessed: e.witnessed}
}

// mustSucceed waits for the job and fails the test unless it passed.
func (e *env) mustSucceed(id int64) coordinator.Result {
	e.Helper()
	result := e.wait(id)
	if result.State != "success" {
		e.Fatalf("job %d: %s (%s, exit code %d), want success", id, result.State, result.FailureReason, result.ExitCode)
	}
	return result
}

// report prints traces and logs of a failed test.
func (e *env) report() {
	if !e.Failed() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.jobs {
		e.Logf("trace of job %d:\n%s", id, indent(clip(string(e.coord.Trace(id)))))
	}
	for _, f := range e.diagnose {
		e.Log(indent(clip(f())))
	}
}

// clip keeps the ends of a long text.
func clip(s string) string {
	const half = 12 << 10
	if len(s) <= 2*half {
		return s
	}
	return s[:half] + fmt.Sprintf("\n[... %d bytes ...]\n", len(s)-2*half) + s[len(s)-half:]
}

func indent(s string) string {
	return "  | " + strings.ReplaceAll(strings.ReplaceAll(s, "\r", "\n"), "\n", "\n  | ")
}

// gate stands before the git server, where it wants a job's token as a private project
// of GitLab does. It can refuse requests, or keep them waiting.
type gate struct {
	next http.Handler

	mu              sync.Mutex
	refuse, refused int
	closed          bool
}

// refuseNext makes the next n requests fail with 503.
func (g *gate) refuseNext(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse = n
}

// shut leaves each request without an answer until its client goes away.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// refusals is how many requests were refused.
func (g *gate) refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	closed, no := g.closed, g.refuse > 0
	if no {
		g.refuse--
		g.refused++
	}
	g.mu.Unlock()
	switch {
	case closed:
		<-r.Context().Done()
	case no:
		http.Error(w, "refused by the test", http.StatusServiceUnavailable)
	case !hasJobToken(r):
		w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
		http.Error(w, "a job token is needed", http.StatusUnauthorized)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// hasJobToken tells whether a request carries what the coordinator gives to jobs.
func hasJobToken(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return user == "gitlab-ci-token" && strings.HasPrefix(password, "job-token-")
}

// cacheFile reads a file of the jobs' cache directory from the host.
func (e *env) cacheFile(name string) string {
	e.Helper()
	content, err := os.ReadFile(filepath.Join(e.cacheDir, name))
	if err != nil {
		e.Fatal(err)
	}
	return string(content)
}
