package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// scenario is one thing a runner must be able to do with an executor.
type scenario struct {
	name       string
	concurrent int
	core       bool // TestDriver runs it under every profile
	run        func(e *env)
}

func scenarios() []scenario {
	return []scenario{
		{"a passing job with a clone and 10,000 log lines", 1, true, passingJob},
		{"a failing job with exit code 3", 1, true, failingJob},
		{"a cancelled job whose after_script still runs", 1, true, cancelledJob},
		{"get_sources that fails once", 1, false, flakySources},
		{"artifacts and cache across two jobs", 1, false, artifactsAndCache},
		{"8 jobs at concurrent = 4", 4, false, manyJobs},
	}
}

// TestLocal checks scenarios, coordinator and git server with an executor that
// runs scripts on the host.
func TestLocal(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(newLocalEnv(t, s.concurrent))
		})
	}
}

// The scripts build their marks from two halves so that the runner's echo of a
// command line is not taken for its output.
const (
	beginMark = "log-begin"
	endMark   = "log-end"
	printMark = `printf '%s-%s\n' log `
)

func passingJob(e *env) {
	const lines = 10_000
	id := e.enqueue(coordinator.Job{
		SHA: e.sha,
		Script: []string{
			`git rev-parse HEAD 2>/dev/null | sed 's/^/at /'`,
			`cat VERSION`,
			printMark + "begin",
			fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); printf 'line %%d\\täöü 日本 %%s\\n' $i 0123456789; done", lines),
			printMark + "end",
		},
	})
	result := e.mustSucceed(id)
	if !bytes.Contains(result.Trace, []byte("\n1.4.2\n")) {
		e.Errorf("the trace lacks the cloned file's content")
	}
	var want strings.Builder
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(&want, "line %d\täöü 日本 0123456789\n", i)
	}
	got := between(e, result.Trace)
	// The echo of the next command follows the last line, in green.
	if cut := strings.LastIndex(got, "\x1b[32;1m"); cut >= 0 {
		got = got[:cut]
	}
	if first := strings.Index(got, "line 1\t"); first >= 0 {
		got = got[first:]
	}
	if got != want.String() {
		e.Errorf("log differs: %s", firstDifference(got, want.String()))
	}
}

// between is what the trace holds between the two marks.
func between(e *env, trace []byte) string {
	e.Helper()
	_, rest, ok := strings.Cut(string(trace), "\n"+beginMark+"\n")
	if !ok {
		e.Fatalf("no %q in the trace", beginMark)
	}
	text, _, ok := strings.Cut(rest, endMark+"\n")
	if !ok {
		e.Fatalf("no %q in the trace", endMark)
	}
	return text
}

func firstDifference(got, want string) string {
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func failingJob(e *env) {
	id := e.enqueue(coordinator.Job{SHA: e.sha, Script: []string{
		"cat VERSION", "(exit 3)", `printf '%s-%s\n' not reached`,
	}})
	result := e.wait(id)
	if result.State != "failed" || result.FailureReason != "script_failure" || !result.HasExitCode || result.ExitCode != 3 {
		e.Errorf("job ended as %s, %s, exit code %d (reported: %v), want failed, script_failure, 3",
			result.State, result.FailureReason, result.ExitCode, result.HasExitCode)
	}
	if bytes.Contains(result.Trace, []byte("not-reached")) {
		e.Error("the script went on after the failure")
	}
	// The stale status must not leak into the next job of the same runner.
	e.mustSucceed(e.enqueue(coordinator.Job{Script: []string{"true"}}))
}

func cancelledJob(e *env) {
	// after_script sees whether the script's own process is still there.
	pidFile := filepath.ToSlash(filepath.Join(e.cache, "script.pid"))
	id := e.enqueue(coordinator.Job{
		Script: []string{
			`echo $$ > ` + pidFile, printMark + "begin", `i=0; while [ $i -lt 600 ]; do i=$((i+1)); sleep 0.1; done`,
			`printf '%s-%s\n' not reached`,
		},
		AfterScript: []string{
			`printf 'after:%s\n' "$CI_JOB_STATUS"`,
			`if kill -0 "$(cat ` + pidFile + `)" 2>/dev/null; then printf '%s %s\n' script alive; else printf '%s %s\n' script gone; fi`,
		},
	})
	e.coord.CancelWhen(id, beginMark)
	result := e.wait(id)
	if result.State != "failed" || result.FailureReason != "job_canceled" {
		e.Errorf("job ended as %s, %s, want failed, job_canceled", result.State, result.FailureReason)
	}
	for _, want := range []string{"after:canceled\n", "script gone\n"} {
		if !bytes.Contains(result.Trace, []byte(want)) {
			e.Errorf("the trace lacks %q", want)
		}
	}
	if bytes.Contains(result.Trace, []byte("not-reached")) {
		e.Error("the script ran to its end")
	}
}

func flakySources(e *env) {
	e.git.refuseNext(1)
	id := e.enqueue(coordinator.Job{
		SHA:       e.sha,
		Variables: []coordinator.Variable{{Key: "GET_SOURCES_ATTEMPTS", Value: "2", Public: true}},
		Script:    []string{`printf 'version %s\n' "$(cat VERSION)"`},
	})
	result := e.mustSucceed(id)
	if n := e.git.refusals(); n != 1 {
		e.Errorf("the git server refused %d requests, want 1", n)
	}
	for _, want := range []string{"503", "version 1.4.2\n"} {
		if !bytes.Contains(result.Trace, []byte(want)) {
			e.Errorf("the trace lacks %q", want)
		}
	}
}

func artifactsAndCache(e *env) {
	cache := []coordinator.Cache{{Key: "deps", Paths: []string{"deps/"}, Policy: "pull-push", When: "on_success"}}
	first := e.enqueue(coordinator.Job{
		Name: "make", SHA: e.sha, Cache: cache,
		Artifacts: []coordinator.Artifacts{{Name: "out", Paths: []string{"out/"}}},
		Script: []string{
			"test ! -e deps/lib.txt",
			"mkdir -p deps out && echo cached > deps/lib.txt && echo built > out/app.txt",
			"echo shared > " + e.cache + "/shared.txt",
		},
	})
	e.mustSucceed(first)
	uploads := e.coord.Artifacts(first)
	if len(uploads) != 1 {
		e.Fatalf("%d uploads, want 1", len(uploads))
	}
	if got := unzipped(e, uploads[0].Content, "out/app.txt"); got != "built\n" {
		e.Errorf("artifact holds %q", got)
	}
	if got := e.cacheFile("shared.txt"); got != "shared\n" {
		e.Errorf("the cache directory on the host holds %q", got)
	}
	second := e.enqueue(coordinator.Job{
		Name: "use", SHA: e.sha, Cache: cache, Dependencies: []int64{first},
		Script: []string{
			`printf 'artifact:%s cache:%s dir:%s\n' "$(cat out/app.txt)" "$(cat deps/lib.txt)" "$(cat ` + e.cache + `/shared.txt)"`,
		},
	})
	result := e.mustSucceed(second)
	if want := "artifact:built cache:cached dir:shared\n"; !bytes.Contains(result.Trace, []byte(want)) {
		e.Errorf("the trace lacks %q", want)
	}
	if bytes.Contains(result.Trace, []byte("Missing gitlab-runner")) {
		e.Error("the runner's helper was not found")
	}
}

func unzipped(e *env, archive []byte, name string) string {
	e.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		e.Fatalf("artifact: %v", err)
	}
	f, err := r.Open(name)
	if err != nil {
		e.Fatalf("artifact: %v", err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		e.Fatalf("artifact: %v", err)
	}
	return string(content)
}

func manyJobs(e *env) {
	var ids []int64
	for i := range 8 {
		ids = append(ids, e.enqueue(coordinator.Job{
			Name: fmt.Sprintf("job %d", i), SHA: e.sha,
			Script: []string{fmt.Sprintf(`printf 'job:%%s of %%s\n' %d "$(cat VERSION)"`, i), "sleep 1"},
		}))
	}
	for i, id := range ids {
		result := e.mustSucceed(id)
		for j := range ids {
			own := bytes.Contains(result.Trace, fmt.Appendf(nil, "job:%d of 1.4.2\n", j))
			if own != (i == j) {
				e.Errorf("trace of job %d holds the line of job %d: %v", i, j, own)
			}
		}
	}
}
