package stages_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func TestJobByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.remote.Idle, w.remote.Diagnose = time.Minute, time.Minute // a busy machine costs no connection and no look
	execs := jobByHand(t, w)
	before := len(w.server.Calls())
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	if calls := len(w.server.Calls()) - before; calls != 2 {
		t.Errorf("cleanup took %d calls, want a delete and a look", calls)
	}
	w.awaitNoGroups(t)
	if calls := w.calls(); calls["CreateContainerGroup"] != 1 || calls["ExecContainerCommand"] != execs || calls["DeleteContainerGroup"] != 1 {
		t.Errorf("calls %v", calls)
	}
	if err := w.cleanup(t); err != nil {
		t.Errorf("cleanup twice: %v", err)
	}
	if kept, err := os.ReadFile(filepath.Join(w.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), "kept")); err != nil || string(kept) != "x\n" {
		t.Errorf("the NAS directory holds %q, %v", kept, err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.config.StateDir, "*.attempt.json")); len(left) > 0 {
		t.Errorf("state left: %v", left)
	}
}

// jobByHand prepares a job and runs its sub-stages; it returns how many.
func jobByHand(t *testing.T, w *world) int {
	t.Helper()
	out, err := w.prepare(t)
	if err != nil {
		t.Fatalf("prepare: %v\n%s", err, out)
	}
	steps := []struct {
		name, stage, script, log string
		status                   int
	}{
		{"helper stage", "get_sources", "umask; gitlab-runner --version; echo 1 >/builds/file", "0000\nstand-in\n", 0},
		{"build stage sees it", "build_script", "cat /builds/file; echo x >/cache/kept", "1\n", 0},
		{"exact status", "step_script", "echo no; exit 3", "no\n", 3},
		{"after_script", "after_script", "echo after", "after\n", 0},
		{"unknown sub-stage", "step_release", "cat /cache/kept", "x\n", 0},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			log, err := w.run(t, s.stage, s.script)
			status := 0
			if build, ok := errors.AsType[*stages.BuildError](err); ok {
				status = build.Status
			} else if err != nil {
				t.Fatal(err)
			}
			if log != s.log || status != s.status {
				t.Errorf("log %q, status %d, want %q and %d", log, status, s.log, s.status)
			}
		})
	}
	return len(steps)
}

func noSecretLeavesTheStream(t *testing.T, w *world) {
	w.job(t, map[string]any{"credentials": []map[string]string{{"type": "registry", "url": "registry.example.com", "username": "u", "password": "registry-pass"}}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := w.run(t, "build_script", "export SECRET=s3cret-value; true"); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.server.Calls() {
		for key, values := range c.All() {
			for _, v := range values {
				if strings.Contains(v, "s3cret-value") || strings.Contains(v, "job-token") ||
					strings.Contains(v, "registry-pass") && !strings.HasSuffix(key, ".Password") {
					t.Errorf("%s: %s holds a secret", c.Action, key)
				}
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(w.config.StateDir, "*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(f)
		if info.Mode().Perm() != 0o600 || strings.Contains(string(data), "registry-pass") {
			t.Errorf("%s: mode %v, or a secret kept after its use", f, info.Mode())
		}
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

func runWithoutPrepare(t *testing.T, w *world) {
	_, err := w.run(t, "build_script", "true")
	wantError(t, err, "job 42 has no prepared container group", "prepare must succeed")
	if err := w.cleanup(t); err != nil {
		t.Errorf("cleanup of nothing: %v", err)
	}
}

func imageThatCannotBePulled(t *testing.T, w *world) {
	w.job(t, map[string]any{"image": map[string]any{"name": "registry.example.com/absent:1"}})
	out, err := w.prepare(t)
	wantError(t, err, "registry.example.com/absent:1", "container build can't be pulled", "not found")
	if status, _ := w.env.ExitStatus(err); status != w.env.BuildFailure {
		t.Errorf("exit status %d", status)
	}
	if !strings.Contains(out, "Warning: ") {
		t.Errorf("the events are not in the log:\n%s", out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

func createIsSentAgainWithTheSameToken(t *testing.T, w *world) {
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action != "CreateContainerGroup" {
			return ecitest.CallFault{}
		}
		return []ecitest.CallFault{{CutAfter: true}, {Status: 503, Code: "ServiceUnavailable", Message: "busy"}, {}}[min(n, 2)]
	}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if live := w.server.Live(); len(live) != 1 {
		t.Errorf("%d groups, want 1", len(live))
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// Where ECI is busy for as long as the driver asks, the job's log says whom to ask then.
func TestBusyForTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Faults: faults(t, "CreateContainerGroup:error=503/ServiceUnavailable")})
	w.config.Timeouts.Ready = 6 * time.Second
	_, err := w.prepare(t)
	wantError(t, err, "not ready within [timeouts] ready = 6s", "ServiceUnavailable", "(request id ", "try again later", "a ticket with the request id")
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A failure that only a person can heal says so, and is not tried three times.
func TestFailureThatCannotHealIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	size := []map[string]any{{"key": "ECI_CPU", "value": "3"}, {"key": "CI_SERVER_HOST", "value": "gitlab.example.com", "public": true}}
	tests := []struct {
		name, action, code string
		status             int
		variables          []map[string]any
		build              bool
		want               []string
	}{
		{"quota", "CreateContainerGroup", "QuotaExceeded", 403, nil, false, []string{"Quota Center"}},
		{"vCPU of the day", "CreateContainerGroup", "Throttling.Vcpu.PerDay", 403, nil, false, []string{"Quota Center"}},
		{"arrears", "CreateContainerGroup", "Account.Arrearage", 400, nil, false, []string{"top it up"}},
		{"no right to create", "CreateContainerGroup", "Forbidden.RAM", 403, nil, false, []string{"Allow the RAM action eci:CreateContainerGroup"}},
		{"no right to describe", "DescribeContainerGroups", "NoPermission", 403, nil, false, []string{"Allow the RAM action eci:DescribeContainerGroups"}},
		{"wrong key", "CreateContainerGroup", "InvalidAccessKeyId.NotFound", 404, nil, false, []string{"access_key_id"}},
		{"a size of the operator's", "CreateContainerGroup", "InvalidParameter.CPU.Memory", 400, nil, false, []string{"[build] cpu and memory"}},
		{"a size of the author's", "CreateContainerGroup", "InvalidParameter.CPU.Memory", 400, size, true, []string{"What the job's author can do", "ECI_CPU"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
				if action == tt.action && n == 0 {
					return ecitest.CallFault{Status: tt.status, Code: tt.code, Message: "no"}
				}
				return ecitest.CallFault{}
			}}})
			if tt.variables != nil {
				w.job(t, map[string]any{"variables": tt.variables})
			}
			_, err := w.prepare(t)
			wantError(t, err, append(tt.want, tt.code, "request id")...)
			want := w.env.SystemFailure
			if tt.build {
				want = w.env.BuildFailure
			}
			if status, _ := w.env.ExitStatus(err); status != want {
				t.Errorf("exit status %d, want %d", status, want)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
			w.env.Attempt = "0123abce"
			before := len(w.server.Calls())
			_, err = w.prepare(t)
			wantError(t, err, append(tt.want, "an earlier attempt failed for good", tt.code)...)
			if after := len(w.server.Calls()); after != before {
				t.Errorf("%d calls by an attempt that can't succeed", after-before)
			}
		})
	}
}

// The note of a failure is good for the budget and a minute: a stage by hand can
// come back to its job when the cause is mended.
func TestNoteOfAFailureGrowsOld(t *testing.T) {
	w := newWorld(t, ecitest.Options{Faults: refuseCreate(ecitest.CallFault{Status: 403, Code: "QuotaExceeded"})})
	if _, err := w.prepare(t); err == nil {
		t.Fatal("prepare succeeded")
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	note := only(t, filepath.Join(w.config.StateDir, "*.job.json"))
	data, err := os.ReadFile(note)
	if err != nil || !strings.Contains(string(data), "QuotaExceeded") {
		t.Fatalf("%v, the note is %q", err, data)
	}
	write(t, note, `{"first":"`+time.Now().Add(-w.config.Timeouts.Ready-2*time.Minute).Format(time.RFC3339)+`","failure":"QuotaExceeded"}`)
	w.env.Attempt = "0123abce"
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A note that is damaged costs the job no more than what it has told.
func TestDamagedNote(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.writeState(t, "gitlab-example-com-j42.job.json", "")
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.writeState(t, "gitlab-example-com-j42.job.json", `{"first": 7}`)
	if log, err := w.run(t, "build_script", "echo log"); err != nil || log != "log\n" {
		t.Errorf("%q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// An attempt for which nothing of the budget is left makes no call.
func TestBudgetIsOneForAllAttempts(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.writeState(t, "gitlab-example-com-j42.job.json", `{"first":"`+time.Now().Add(-w.config.Timeouts.Ready).Format(time.RFC3339)+`"}`)
	before := len(w.server.Calls())
	_, err := w.prepare(t)
	wantError(t, err, "[timeouts] ready = 1m0s is for all attempts of a job together")
	if after := len(w.server.Calls()); after != before {
		t.Errorf("%d calls", after-before)
	}
}

func deathOfTheGroupIsTold(t *testing.T, w *world) {
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	id := w.server.Live()[0]
	w.awaitStatus(t, id, "Running") // where the machine is slow, prepare has left build to start
	if err := w.server.KillContainer(id, "build"); err != nil {
		t.Fatal(err)
	}
	_, err := w.run(t, "build_script", "echo never")
	wantError(t, err, "build container", "has ended", "137")
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

func cleanupFindsAGroupWhoseIDWasNeverSaved(t *testing.T, w *world) {
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.RemoveAll(w.config.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
