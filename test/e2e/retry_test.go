package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// attempt is a job whose first attempt fails, and whether GitLab makes another of it.
type attempt struct {
	name    string
	job     coordinator.Job
	retry   coordinator.Retry
	lost    bool   // somebody deletes the container group of the first one
	reason  string // for which it failed
	exit    int    // its exit code, 0 = it has none
	says    string // a text of its log
	retried bool
}

func attempts() []attempt {
	when := func(reason string) coordinator.Retry { return coordinator.Retry{Max: 1, When: []string{reason}} }
	codes := func(codes ...int) coordinator.Retry { return coordinator.Retry{Max: 1, ExitCodes: codes} }
	endless := coordinator.Job{Script: []string{printMark + "begin", "while :; do sleep 1; done"}}
	late := coordinator.Job{Variables: public("RUNNER_SCRIPT_TIMEOUT", "15s"), Script: endless.Script}
	failing := coordinator.Job{Script: []string{"exit 42"}}
	forbidden := coordinator.Job{Image: coordinator.Image{Name: "forbidden:1"}}
	long := coordinator.Job{Variables: public("LONG", strings.Repeat("x", 131_072))}
	missing := coordinator.Job{Image: coordinator.Image{Name: "missing:1"}}
	const script, system, timeout = "script_failure", "runner_system_failure", "job_execution_timeout"
	return []attempt{ // that which takes longest first
		{name: "the script takes too long, when job_execution_timeout", job: late, retry: when(timeout), reason: timeout, retried: true},
		{name: "a variable of 128 KiB, when script_failure", job: long, retry: when(script), reason: system, says: "argument list too long"},
		{name: "the script fails, when script_failure", job: failing, retry: when(script), reason: script, exit: 42, retried: true},
		{name: "the script fails, when runner_system_failure", job: failing, retry: when(system), reason: script, exit: 42},
		{name: "the script fails, exit_codes of its own", job: failing, retry: codes(3, 42), reason: script, exit: 42, retried: true},
		{name: "the script fails, exit_codes of others", job: failing, retry: codes(3, 4), reason: script, exit: 42},
		{name: "the container group is lost, when runner_system_failure", job: endless, lost: true, retry: when(system), reason: system, retried: true},
		{name: "the container group is lost, when script_failure", job: endless, lost: true, retry: when(script), reason: system},
		{name: "the image is not allowed, when runner_system_failure", job: forbidden, retry: when(system), reason: script, exit: 1, says: "is not allowed on this runner"},
		{name: "the image does not exist, when runner_system_failure", job: missing, retry: when(system), reason: script, exit: 1, says: "can't be pulled"},
	}
}

// TestRetry shows that a failure reaches GitLab by the reason that retry:when goes by.
func TestRetry(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 4, file: "[allow]\nimages = [\"build:*\", \"missing:*\"]\n"})
	rows := attempts()
	ids := make([]int64, len(rows))
	for i, row := range rows {
		first := fmt.Sprintf("if [ -e /cache/%[1]d ]; then printf 'attempt:%%s\\n' second; exit 0; fi; true >/cache/%[1]d", i)
		row.job.Script = append([]string{first}, row.job.Script...)
		row.job.Retry = row.retry
		ids[i] = e.enqueue(row.job)
	}
	for i, row := range rows {
		if row.lost {
			e.await(e.coord.Reached(ids[i], beginMark))
			e.deleteGroupOf(ids[i])
		}
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) { e.in(t).verifyAttempt(row, ids[i]) })
	}
}

func (e *env) verifyAttempt(row attempt, id int64) {
	result := e.wait(id)
	if result.State != "failed" || result.FailureReason != row.reason || result.ExitCode != row.exit {
		e.Errorf("the job ended as %s %s with %d, want failed %s with %d", result.State, result.FailureReason, result.ExitCode, row.reason, row.exit)
	}
	if !bytes.Contains(result.Trace, []byte(row.says)) {
		e.Errorf("the trace lacks %q", row.says)
	}
	again := e.coord.RetriedAs(id)
	if retried := again != 0; retried != row.retried {
		e.Fatalf("retried: %v, want %v", retried, row.retried)
	}
	if again != 0 && !bytes.Contains(e.mustSucceed(again).Trace, []byte("\nattempt:second\n")) {
		e.Error("the second attempt is not what passed")
	}
}

// deleteGroupOf deletes the container group of a job, as somebody at the console does.
func (e *env) deleteGroupOf(job int64) {
	e.Helper()
	for _, g := range e.server.Groups() {
		if g.Tags["job"] == fmt.Sprint(job) {
			if err := e.server.DeleteGroup(g.ID); err != nil {
				e.Fatal(err)
			}
			return
		}
	}
	e.Fatalf("job %d has no container group", job)
}
