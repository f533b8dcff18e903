package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gitlab.com/gitlab-org/gitlab-runner/helpers/featureflags"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// featureFlag is one of the runner.
type featureFlag struct {
	name string
	// changes are the stages whose scripts it changes beyond its own export, sorted;
	// "" = none.
	changes string
	// kind is the job of flagsSent that runs with its other value; "" = none, where
	// neither the scripts nor the runner's commands in helper differ.
	kind string
	// note says in docs/jobs.md what it does here.
	note string
}

const (
	inScript    = "script"    // the author's script, its status and its log
	inSources   = "sources"   // a clone with submodule and LFS, git in the script
	inTransfers = "transfers" // artifacts and caches, both ways

	cacheStages = "archive_cache restore_cache"
	withExports = "after_script archive_cache build_script cleanup_file_variables download_artifacts get_sources restore_cache upload_artifacts_on_success"
	everyStage  = "after_script archive_cache build_script cleanup_file_variables download_artifacts get_sources prepare_script restore_cache upload_artifacts_on_success"

	ofKubernetes = "of the Kubernetes executor: nothing"
	ofDocker     = "of the Docker executor: nothing"
	ofWindows    = "of Windows: nothing"
	ofRunner     = "the runner's own affair"
)

// featureFlags are those of the runner, in its order.
func featureFlags() []featureFlag {
	return []featureFlag{
		{"FF_TEST_FEATURE", "", "", "nothing"},
		{"FF_NETWORK_PER_BUILD", withExports, inScript, "sets CI_BUILD_NETWORK_NAME and nothing else: each job has a network of its own anyway"},
		{"FF_USE_LEGACY_KUBERNETES_EXECUTION_STRATEGY", "", "", ofKubernetes},
		{"FF_USE_DIRECT_DOWNLOAD", "", inTransfers, "works"},
		{"FF_USE_FASTZIP", "", inTransfers, "works"},
		{"FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR", "", "", ofDocker},
		{"FF_ENABLE_BASH_EXIT_CODE_CHECK", everyStage, inScript, "works"},
		{"FF_USE_WINDOWS_LEGACY_PROCESS_STRATEGY", "", "", ofWindows},
		{"FF_USE_LEGACY_BASH_EVAL", everyStage, inScript, "works; bash then turns the exit code of a command that fails into 1"},
		{"FF_USE_POWERSHELL_PATH_RESOLVER", cacheStages, inTransfers, "works, in bash too"},
		{"FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL", "", "", ofRunner},
		{"FF_SCRIPT_SECTIONS", "after_script build_script", inScript, "works"},
		{"FF_ENABLE_JOB_CLEANUP", "cleanup_file_variables", inSources, "works"},
		{"FF_KUBERNETES_HONOR_ENTRYPOINT", "", "", "as of the Kubernetes executor: the image's entrypoint starts the build container, here also one that the job names; it sees none of the job's variables, and what it prints is not in the job's log"},
		{"FF_POSIXLY_CORRECT_ESCAPES", everyStage, inScript, "works; images whose only shell is dash need it"},
		{"FF_RESOLVE_FULL_TLS_CHAIN", "", "", ofRunner + ", in its config.toml alone"},
		{"FF_DISABLE_POWERSHELL_STDIN", "", "", ofWindows},
		{"FF_USE_POD_ACTIVE_DEADLINE_SECONDS", "", "", ofKubernetes + ", each container group has a deadline"},
		{"FF_USE_ADVANCED_POD_SPEC_CONFIGURATION", "", "", ofKubernetes + "; see `[group] request`"},
		{"FF_SECRET_RESOLVING_FAILS_IF_MISSING", "", "", ofRunner},
		{"FF_PRINT_POD_EVENTS", "", "", ofKubernetes + ", what went wrong is always told"},
		{"FF_USE_GIT_BUNDLE_URIS", "get_sources", inSources, "works"},
		{"FF_USE_GIT_NATIVE_CLONE", "get_sources", inSources, "works; with a git below 2.49 in the helper image the runner fetches all the same"},
		{"FF_USE_DUMB_INIT_WITH_KUBERNETES_EXECUTOR", "", "", ofKubernetes + ", the first process of helper and build reaps orphans"},
		{"FF_USE_INIT_WITH_DOCKER_EXECUTOR", "", "", ofDocker},
		{"FF_LOG_IMAGES_CONFIGURED_FOR_JOB", "", "", ofRunner},
		{"FF_USE_DOCKER_AUTOSCALER_DIAL_STDIO", "", "", ofDocker},
		{"FF_CLEAN_UP_FAILED_CACHE_EXTRACT", "restore_cache", inTransfers, "works"},
		{"FF_USE_WINDOWS_JOB_OBJECT", "", "", ofWindows},
		{"FF_TIMESTAMPS", "", "", ofRunner},
		{"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION", "", "", ofRunner},
		{"FF_USE_LEGACY_GCS_CACHE_ADAPTER", "", "", ofRunner},
		{"FF_DISABLE_UMASK_FOR_KUBERNETES_EXECUTOR", "", "", ofKubernetes + ", what helper makes is open to every user"},
		{"FF_USE_LEGACY_S3_CACHE_ADAPTER", "archive_cache", inTransfers, "works"},
		{"FF_GIT_URLS_WITHOUT_TOKENS", withExports, inSources, "works, in the script too"},
		{"FF_WAIT_FOR_POD_TO_BE_REACHABLE", "", "", ofKubernetes},
		{"FF_MASK_ALL_DEFAULT_TOKENS", "", "", ofRunner},
		{"FF_EXPORT_HIGH_CARDINALITY_METRICS", "", "", ofRunner},
		{"FF_USE_FLEETING_ACQUIRE_HEARTBEATS", "", "", ofRunner},
		{"FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "", "", ofRunner},
		{"FF_USE_ADAPTIVE_REQUEST_CONCURRENCY", "", "", ofRunner},
		{"FF_USE_GITALY_CORRELATION_ID", "get_sources", inSources, "works"},
		{"FF_USE_GIT_PROACTIVE_AUTH", "get_sources", inSources, "works; a git below 2.46 in the helper image does not know it"},
		{"FF_HASH_CACHE_KEYS", cacheStages, inTransfers, "works"},
		{"FF_ENABLE_JOB_INPUTS_INTERPOLATION", "", "", ofRunner},
		{"FF_USE_JOB_ROUTER", "", "", ofRunner},
		{"FF_SCRIPT_TO_STEP_MIGRATION", "", "", "nothing: the custom executor has no native steps"},
		{"FF_USE_PARALLEL_CACHE_TRANSFER", "", inTransfers, "works"},
		{"FF_USE_PARALLEL_ARTIFACT_TRANSFER", "", inTransfers, "works"},
		{"FF_CONCRETE", "", "", "nothing: the custom executor has no native steps"},
		{"FF_SUSPENDABLE_ENVIRONMENTS", "", "", "nothing: a container group ends with its job"},
		{"FF_USE_NATIVE_CONTAINER_STOP", "", "", ofDocker},
	}
}

// TestFeatureFlags compares the scripts that a real runner makes with each feature flag
// set to what it is not by default. A flag that changes scripts has to be run, and one
// that the table does not know has to be looked at.
func TestFeatureFlags(t *testing.T) {
	t.Parallel()
	e := newGitLab(t, false)
	out := t.TempDir()
	before := e.coord.Enqueue(coordinator.Job{Name: "before"})
	e.coord.AddArtifact(before, coordinator.Artifact{Filename: "artifacts.zip"})
	defaults := e.enqueue(wholeJob(e.sha, before))
	ids := map[string]int64{}
	for _, f := range featureflags.GetAll() {
		ids[f.Name] = e.enqueue(wholeJob(e.sha, before, f.Name, strconv.FormatBool(!f.DefaultValue)))
	}
	recorder, err := filepath.Abs(filepath.Join("recorder", "recorder.sh"))
	if err != nil {
		t.Fatal(err)
	}
	e.startRunner(t.TempDir(), runnerConfig{Concurrent: 8, Exec: recorder, Args: []string{out}, Tables: startCacheStore(t).config()})
	base := e.scriptsOf(out, defaults)
	if got := slices.Sorted(maps.Keys(base)); strings.Join(got, " ") != everyStage {
		t.Fatalf("the stages are %q, want %q", got, everyStage)
	}
	for _, f := range featureflags.GetAll() {
		i := slices.IndexFunc(featureFlags(), func(known featureFlag) bool { return known.name == f.Name })
		if i < 0 {
			t.Errorf("%s is not in the table: what does it change?", f.Name)
			continue
		}
		var changed []string
		for stage, script := range e.scriptsOf(out, ids[f.Name]) {
			if script != base[stage] {
				changed = append(changed, stage)
			}
		}
		slices.Sort(changed)
		known := featureFlags()[i]
		if got := strings.Join(changed, " "); got != known.changes {
			t.Errorf("%s changes the scripts of %q, want %q", f.Name, got, known.changes)
		}
		if known.changes != "" && known.kind == "" {
			t.Errorf("%s changes scripts and is run by no job", f.Name)
		}
	}
	if len(featureFlags()) != len(featureflags.GetAll()) {
		t.Errorf("the table has %d flags, the runner %d", len(featureFlags()), len(featureflags.GetAll()))
	}
}

// wholeJob makes the runner write a script for every stage, in every of its parts that
// flags change.
func wholeJob(sha string, before int64, pairs ...string) coordinator.Job {
	variables := public("GIT_STRATEGY", "clone", "GIT_SUBMODULE_STRATEGY", "recursive")
	return coordinator.Job{
		SHA: sha, Dependencies: []int64{before},
		Variables:   append(append(variables, coordinator.Variable{Key: "SETTINGS", Value: "x", File: true}), public(pairs...)...),
		Cache:       []coordinator.Cache{{Key: "k", Paths: []string{"deps/"}, Policy: "pull-push", When: "always"}},
		Artifacts:   []coordinator.Artifacts{{Paths: []string{"out/"}}},
		Script:      []string{"echo one", "echo two\necho three"},
		AfterScript: []string{"echo four\necho five"},
	}
}

// scriptsOf are the scripts that the recorder has of a job, by stage, without what
// differs from one job to the next.
func (e *env) scriptsOf(out string, id int64) map[string]string {
	e.Helper()
	e.mustSucceed(id)
	files, err := filepath.Glob(filepath.Join(out, fmt.Sprint(id), "*.sh"))
	if err != nil {
		e.Fatal(err)
	}
	volatile := regexp.MustCompile(fmt.Sprintf(`\b[0-9a-f]{32}\b|X-Amz-[^ ]*|export (FF|CI_CONCURRENT)_[A-Z0-9_]+=.*?\\n|\b(job-token-)?%d\b|--header \S+ \S+`, id))
	scripts := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			e.Fatal(err)
		}
		_, stage, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".sh"), "-")
		scripts[stage] = volatile.ReplaceAllString(string(content), "")
	}
	return scripts
}
