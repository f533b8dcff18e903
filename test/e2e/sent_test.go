package e2e

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// sent is a job that makes the runner send something of its own, and what comes of it.
type sent struct {
	name   string
	after  []string // names of rows that have to end before, whose artifacts the job gets
	job    coordinator.Job
	exit   int      // the job's exit code
	stages string   // as env.stagesOf gives them, "" = not looked at
	traces []string // texts of the trace
	absent []string // texts that must not be there
	check  func(e *env, id int64)
}

func public(pairs ...string) []coordinator.Variable {
	var vars []coordinator.Variable
	for i := 0; i < len(pairs); i += 2 {
		vars = append(vars, coordinator.Variable{Key: pairs[i], Value: pairs[i+1], Public: true})
	}
	return vars
}

// keysOfRunner are variables of the runner's file, and scripts that go around those of
// each job.
const keysOfRunner = `environment = ["FROM_RUNNER=the runner", "WHO=runner"]
pre_get_sources_script = "printf '%s-%s\\n' before sources"
post_get_sources_script = "printf '%s-%s\\n' after sources"
pre_build_script = "printf '%s-%s\\n' before build"
post_build_script = "printf '%s-%s\\n' after build"
`

// TestSent runs one small job for each thing that a runner sends only now and then.
// GitLab has an https URL and a CA that nobody else knows; caches are in S3 alone.
func TestSent(t *testing.T) {
	needContainers(t)
	needLFS(t)
	t.Parallel()
	store := startCacheStore(t)
	e := newDriverEnv(t, driverSetup{
		concurrent: 4, secure: true, noCache: true, forward: []string{store.address()}, images: userImages(t),
		runnerKeys: keysOfRunner, runnerTables: "[runners.custom_build_dir]\nenabled = true\n" + store.config(),
	})
	assets, branch := e.addProjects()
	e.verifySent(slices.Concat(variablesSent(), projectsSent(assets, branch), sourcesSent(e.sha), stepsSent(e.sha), artifactsSent(e.sha), cacheSent(e.sha), flagsSent(branch)))
	t.Run("what is in S3", func(t *testing.T) {
		want := map[string]string{
			"of runners/project/1/main-캐시": "main-캐시", "of runners/project/1/failed": "failed", "of runners/project/1/nobody": "nobody",
		}
		maps.Copy(want, cacheKeysOfFlags())
		if diff := cmp.Diff(want, store.keys(t)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// shell = "sh" has the runner write for sh, which is dash here, and can't read it all.
// Caches are on the NAS that is at /cache.
func TestSentWithShellSh(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 4, keys: "shell = \"sh\"\n", runnerKeys: keysOfRunner})
	e.verifySent(slices.Concat(variablesSent(), sourcesSent(e.sha)[:1], cacheSent(e.sha), []sent{flagsAtOnce()}))
	if caches, err := filepath.Glob(filepath.Join(e.cacheDir, "demo", "app", "*", "cache.zip")); err != nil || len(caches) != 2 {
		t.Errorf("on the NAS are the caches %q, want 2; %v", caches, err)
	}
}

// userImages have a user that is not root, and dash as their only shell.
func userImages(t *testing.T) map[string]ecitest.Image {
	t.Helper()
	nobody, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	nobody.User = "nobody"
	return map[string]ecitest.Image{"nobody:1": nobody, "dash:1": toolsImage(t, "/usr/bin/dash")}
}

func (e *env) verifySent(rows []sent) {
	e.Helper()
	ids := map[string]int64{}
	for _, row := range rows {
		for _, name := range row.after {
			row.job.Dependencies = append(row.job.Dependencies, ids[name])
		}
		ids[row.name] = e.enqueue(row.job)
	}
	for _, row := range rows {
		e.Run(row.name, func(t *testing.T) { e.in(t).verifyRow(row, ids[row.name]) })
	}
}

func (e *env) verifyRow(row sent, id int64) {
	result := e.wait(id)
	want := coordinator.Result{State: "success"}
	if row.exit != 0 {
		want = coordinator.Result{State: "failed", FailureReason: "script_failure", ExitCode: row.exit}
	}
	if result.State != want.State || result.FailureReason != want.FailureReason || result.ExitCode != want.ExitCode {
		e.Errorf("the job ended as %s %s with %d, want %+v", result.State, result.FailureReason, result.ExitCode, want)
	}
	if row.stages != "" {
		if got := e.stagesOf(id); got != row.stages {
			e.Errorf("stages:\n%s\nwant:\n%s", got, row.stages)
		}
	}
	for _, text := range row.traces {
		if !bytes.Contains(result.Trace, []byte(text)) {
			e.Errorf("the trace lacks %q", text)
		}
	}
	for _, text := range row.absent {
		if bytes.Contains(result.Trace, []byte(text)) {
			e.Errorf("the trace holds %q", text)
		}
	}
	if row.check != nil {
		row.check(e, id)
	}
}
