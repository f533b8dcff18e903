package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// cut is a job that does not come to its end, and what is to be seen of it.
type cut struct {
	name string
	job  coordinator.Job
	// when has the coordinator cancel or abort the job; nil = something else ends it.
	when    func(c *coordinator.Coordinator, id int64)
	state   string // the result's state and failure reason
	reports string // the runner's final report, where that is another one
	stages  string // as env.stagesOf gives them
	traces  []string
	// survives tells that the stages after the script take place.
	survives bool
}

const (
	untilScript = "config prepare prepare_script get_sources restore_cache "
	afterScript = " after_script archive_cache_on_failure upload_artifacts_on_failure cleanup_file_variables cleanup"
)

func cancelAt(marker string) func(*coordinator.Coordinator, int64) {
	return func(c *coordinator.Coordinator, id int64) { c.CancelWhen(id, marker) }
}

func abortAt(marker string) func(*coordinator.Coordinator, int64) {
	return func(c *coordinator.Coordinator, id int64) { c.AbortWhen(id, marker) }
}

func cuts() []cut {
	endless := watched(stubborn...)
	scriptLimit := watched(deaf...)
	scriptLimit.Variables = public("RUNNER_SCRIPT_TIMEOUT", "8s")
	jobLimit := watched(deaf...)
	jobLimit.Timeout = 30 * time.Second // in which a busy machine comes to the script
	inSources := watched("true")
	inSources.SHA = "1111111111111111111111111111111111111111"
	inPrepare := watched("true")
	inPrepare.ID = pendingJob
	return []cut{ // that which takes longest first
		{
			name: "job timeout", job: jobLimit, state: "failed job_execution_timeout",
			stages: untilScript + "build_script=2 cleanup",
			traces: []string{"stopped on request", "execution took longer than 30s seconds"},
		},
		{
			name: "canceling", job: endless, when: cancelAt(beginMark), state: "failed job_canceled",
			stages: untilScript + "build_script=2" + afterScript, survives: true,
			traces: []string{"stopped on request", "script canceled externally", "after:canceled\n"},
		},
		{
			name: "canceled", job: endless, when: abortAt(beginMark), state: "canceled ", reports: "failed job_canceled",
			stages: untilScript + "build_script=2 cleanup",
		},
		{
			name: "RUNNER_SCRIPT_TIMEOUT", job: scriptLimit, state: "failed job_execution_timeout",
			stages: untilScript + "build_script=2" + afterScript, survives: true,
			traces: []string{"script timeout", "after:timedout\n"},
		},
		{
			name: "RUNNER_AFTER_SCRIPT_TIMEOUT", job: endlessAfter(), state: "success ",
			stages: untilScript + "build_script after_script=2 archive_cache upload_artifacts_on_success cleanup_file_variables cleanup",
			traces: []string{"after_script failed, but job will continue"},
		},
		{
			name: "canceling in get_sources", job: inSources, when: cancelAt("Fetching changes"), state: "failed job_canceled",
			stages: "config prepare prepare_script get_sources=2 cleanup",
		},
		{
			name: "canceling in prepare", job: inPrepare, when: cancelAt("Using Custom executor"), state: "failed job_canceled",
			stages: "config prepare=2 cleanup",
		},
	}
}

// pendingJob is the id of the job whose container group never starts.
const pendingJob = 501

// stubborn goes on for ever, whatever signal can be ignored: its shell, a hundred
// children, a daemon in a session of its own and one that has forked twice.
var stubborn = []string{
	"trap '' TERM INT HUP",
	"export LEFT_BY_SCRIPT=yes",
	"i=0; while [ $i -lt 100 ]; do sleep 86400 & i=$((i+1)); done",
	"(setsid sh -c 'while :; do sleep 1; done' &)",
	`sh -c 'sh -c "while :; do sleep 1; done" & exit'`,
	printMark + "begin",
	"while :; do sleep 1; done",
}

// deaf ignores signals as well and is quick to start, for limits that end it by the
// clock, on a machine however slow.
var deaf = []string{"trap '' TERM INT HUP", "export LEFT_BY_SCRIPT=yes", "(setsid sleep 86400 &)", "while :; do sleep 1; done"}

// polite ends on a signal, but for its daemon, which holds none of its output.
var polite = []string{
	"export LEFT_BY_SCRIPT=yes",
	`(trap '' TERM; setsid sh -c 'while :; do sleep 1; done' >/dev/null 2>&1 &)`,
	printMark + "begin",
	"sleep 86400",
}

// watched is a job with that script, a cache and an artifact, whose after_script
// counts what the script has left running: the processes with its mark, and its shells,
// as the runner has the script in a shell of its own.
func watched(script ...string) coordinator.Job {
	return coordinator.Job{
		Script: append([]string{"mkdir -p out && echo made >out/file && echo $$ $BASHPID >script.pid"}, script...),
		AfterScript: []string{
			`printf 'after:%s\n' "$CI_JOB_STATUS"`,
			`left=$( (grep -lz '^LEFT_BY_SCRIPT=' /proc/[0-9]*/environ 2>/dev/null || true) | wc -l)`,
			`for pid in $(cat script.pid); do if kill -0 $pid 2>/dev/null; then left=$((left+1)); fi; done`,
			`printf 'left:%d\n' "$left"`,
		},
		Cache:     []coordinator.Cache{{Key: "k", Paths: []string{"out/"}, Policy: "pull-push", When: "always"}},
		Artifacts: []coordinator.Artifacts{{Name: "out", Paths: []string{"out/"}, When: "always"}},
	}
}

// endlessAfter is a job whose after_script goes on until it is ended.
func endlessAfter() coordinator.Job {
	job := watched("true")
	job.Variables = public("RUNNER_AFTER_SCRIPT_TIMEOUT", "2s")
	job.AfterScript = append([]string{"true"}, stubborn...)
	return job
}

// enqueueCut adds the job of c.
func (e *env) enqueueCut(c cut) int64 {
	id := e.enqueue(c.job)
	if c.when != nil {
		c.when(e.coord, id)
	}
	return id
}

// TestCut cuts jobs short in each way that GitLab and the runner have, all at once
// beside each other. For time's sake the kind profile is left to the other tests.
func TestCut(t *testing.T) {
	needContainers(t)
	t.Parallel()
	for _, profile := range []string{ecitest.ProfileDocs, ecitest.ProfileHostile} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			e := newDriverEnv(t, driverSetup{concurrent: len(cuts()), profile: profile})
			e.server.SetFaults(ecitest.Faults{Rules: ecitest.Rules{{
				Target: "group", Where: []ecitest.Condition{{Name: "ContainerGroupName", Pattern: fmt.Sprintf("*-j%d-*", pendingJob)}},
				Group: ecitest.GroupFault{PendingForever: true},
			}}})
			e.git.shut()
			e.verify(cuts())
		})
	}
}

// A driver that is killed because it took longer than graceful_kill_timeout leaves
// the rest to whatever comes next, whether or not its exec outlives it.
func TestGracefulKillTimeoutPasses(t *testing.T) {
	needContainers(t)
	t.Parallel()
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			newDriverEnv(t, driverSetup{concurrent: len(slowCuts()), grace: 1, profile: profile}).verify(slowCuts())
		})
	}
}

func slowCuts() []cut {
	return []cut{
		{
			name: "canceling a script that ignores TERM", job: watched(stubborn...), when: cancelAt(beginMark), state: "failed job_canceled",
			stages: untilScript + "build_script=killed" + afterScript, survives: true,
			traces: []string{"script canceled externally", "after:canceled\n"},
		},
		{
			name: "canceling a script whose daemon ignores TERM", job: watched(polite...), when: cancelAt(beginMark), state: "failed job_canceled",
			stages: untilScript + "build_script=killed" + afterScript, survives: true,
			traces: []string{"script canceled externally", "after:canceled\n"},
		},
		{
			name: "canceled", job: watched(stubborn...), when: abortAt(beginMark), state: "canceled ", reports: "failed job_canceled",
			stages: untilScript + "build_script=killed cleanup",
		},
		{ // what it left goes on in build while the next stages run in helper
			name: "RUNNER_AFTER_SCRIPT_TIMEOUT", job: endlessAfter(), state: "success ",
			stages: untilScript + "build_script after_script=killed archive_cache upload_artifacts_on_success cleanup_file_variables cleanup",
			traces: []string{"after_script failed, but job will continue", "Created cache"},
		},
	}
}

// On SIGTERM a runner aborts its jobs and ends after their cleanup.
func TestRunnerGetsSIGTERM(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 2})
	e.git.shut()
	inScript := cut{
		name: "in the script", job: watched(stubborn...), state: "failed unknown_failure", // runner_interrupted where GitLab knows it
		stages: untilScript + "build_script=2 cleanup",
		traces: []string{"stopped on request", "aborted: terminated"},
	}
	inSources := cut{
		name: "in get_sources", state: "failed runner_interrupted",
		job:    coordinator.Job{SHA: "1111111111111111111111111111111111111111", Reasons: []string{"runner_interrupted"}},
		stages: "config prepare prepare_script get_sources=2 cleanup",
		traces: []string{"stopped on request", "aborted: terminated"},
	}
	first, second := e.enqueueCut(inScript), e.enqueueCut(inSources)
	e.await(e.coord.Reached(first, beginMark))
	e.await(e.coord.Reached(second, "Fetching changes"))
	if err := e.runner.end(syscall.SIGTERM); err != nil {
		t.Errorf("the runner did not end well: %v", err)
	}
	t.Run(inScript.name, func(t *testing.T) { e.in(t).verifyCut(inScript, first) })
	t.Run(inSources.name, func(t *testing.T) { e.in(t).verifyCut(inSources, second) })
}

// On SIGQUIT a runner finishes the jobs that it has and takes no more. systemd sends it
// to every process of the service.
func TestRunnerGetsSIGQUIT(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 1, file: "[exec]\nshared_connection = true\n"})
	// What a script that ended by itself has left running is there in after_script.
	job := watched("export LEFT_BY_SCRIPT=yes", "sleep 86400 &", printMark+"begin", "until [ -e "+e.cache+"/go ]; do sleep 0.1; done")
	id := e.enqueue(job)
	e.await(e.coord.Reached(id, beginMark))
	next := e.enqueue(coordinator.Job{})
	ended := make(chan error, 1)
	go func() { ended <- e.runner.end(syscall.SIGQUIT) }()
	for !strings.Contains(e.runner.log(), "Starting graceful shutdown") {
		select {
		case err := <-ended:
			t.Fatalf("the runner ended with a job: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	drivers := driversIn(e, filepath.Dir(e.runner.logPath))
	if len(drivers) != 2 {
		t.Errorf("%d processes of the driver, want run and relay", len(drivers))
	}
	for _, pid := range drivers {
		if !ignores(e, pid, syscall.SIGQUIT) {
			t.Errorf("process %d does not ignore SIGQUIT", pid)
		}
		if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(e.cacheDir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the runner did not end well: %v", err)
	}
	e.verifyCut(cut{
		state:  "success ",
		stages: untilScript + "build_script after_script archive_cache upload_artifacts_on_success cleanup_file_variables cleanup",
		traces: []string{"after:success\n", "\nleft:1\n"},
	}, id)
	if stages := e.stagesOf(next); stages != "" {
		t.Errorf("another job was taken: %s", stages)
	}
}

// driversIn are the processes of the driver that name a file below dir.
func driversIn(e *env, dir string) (pids []int) {
	e.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		e.Fatal(err)
	}
	driver := buildDriver(e.T)
	for _, path := range lines {
		process := filepath.Dir(path)
		line, _ := os.ReadFile(path) // of one that has ended there is none
		if exe, _ := os.Readlink(filepath.Join(process, "exe")); exe != driver || !bytes.Contains(line, []byte(dir+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			e.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// ignores tells whether a process ignores a signal.
func ignores(e *env, pid int, signal syscall.Signal) bool {
	e.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		e.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "SigIgn:")
	word, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	mask, err := strconv.ParseUint(word, 16, 64)
	if err != nil {
		e.Fatal(err)
	}
	return mask&(1<<(signal-1)) != 0
}

// verify runs jobs and looks at what is to be seen of each.
func (e *env) verify(cuts []cut) {
	e.Helper()
	ids := make([]int64, len(cuts))
	for i, c := range cuts {
		ids[i] = e.enqueueCut(c)
	}
	for _, id := range ids {
		e.wait(id)
	}
	if err := e.runner.finish(); err != nil { // cleanup of an aborted job comes after its end
		e.Errorf("the runner did not end well: %v", err)
	}
	for i, c := range cuts {
		e.Run(c.name, func(t *testing.T) { e.in(t).verifyCut(c, ids[i]) })
	}
}

func (e *env) verifyCut(c cut, id int64) {
	result := e.wait(id)
	if got := result.State + " " + result.FailureReason; got != c.state {
		e.Errorf("the job ended as %q, want %q", got, c.state)
	}
	want := c.state
	if c.reports != "" {
		want = c.reports
	}
	if reports := e.coord.Reports(id); len(reports) != 1 || reports[0].State+" "+reports[0].FailureReason != want {
		e.Errorf("the runner reported %+v, want %q once", reports, want)
	}
	if got := e.stagesOf(id); got != c.stages {
		e.Errorf("stages:\n%s\nwant:\n%s", got, c.stages)
	}
	texts := c.traces
	if c.survives {
		texts = append([]string{"\nleft:0\n", "Created cache"}, texts...)
		if uploads := e.coord.Artifacts(id); len(uploads) != 1 || unzipped(e, uploads[0].Content, "out/file") != "made\n" {
			e.Errorf("%d uploads", len(uploads))
		}
	}
	for _, text := range texts {
		if !bytes.Contains(result.Trace, []byte(text)) {
			e.Errorf("the trace lacks %q", text)
		}
	}
}
