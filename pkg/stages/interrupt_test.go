package stages_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// A create call that took effect without its answer, and a driver that was told
// to stop at that moment, leave what cleanup finds by its tags.
func prepareInterruptedInTheCreateCall(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action != "CreateContainerGroup" {
			return ecitest.CallFault{}
		}
		cancel()
		return ecitest.CallFault{CutAfter: true}
	}})
	started := time.Now()
	err := w.stage(t, new(bytes.Buffer)).Prepare(ctx)
	wantError(t, err, "context canceled")
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("prepare went on for %s", took)
	}
	if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
		t.Errorf("exit status %d", status)
	}
	w.awaitListed(t, 1) // the call may still be taking effect when prepare has gone
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A group that the create call made is not always listed at once. Cleanup keeps
// the record then, and the next job's prepare looks again.
func TestHiddenGroupIsFoundByALaterPrepare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	front := w.front(t, in(0))
	w.config.Endpoint = front.url
	front.hidden.Store(true)
	stop := onCall("CreateContainerGroup", 0, ecitest.CallFault{CutAfter: true}, true)
	if err := w.faulty(t, stop, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Prepare(ctx) }); err == nil {
		t.Fatal("prepare succeeded")
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	if len(w.server.Live()) != 1 {
		t.Fatal("the group was not hidden: the test shows nothing")
	}
	age(t, only(t, filepath.Join(w.config.StateDir, "*.attempt.json")), time.Minute)
	front.hidden.Store(false)
	w.env.Attempt = "0123abce"
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if deleted := w.calls()["DeleteContainerGroup"]; deleted != 1 {
		t.Errorf("%d groups were deleted by the later prepare, want 1", deleted)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// awaitListed waits until the API lists n groups: the end of the time for which
// the switch hides a new one, which no event tells.
func (w *world) awaitListed(t *testing.T, n int) {
	t.Helper()
	stage := w.stage(t, new(bytes.Buffer))
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if groups, err := stage.API.DescribeContainerGroups(w.context(t), eci.Query{}); err == nil && len(groups) == n {
			return
		}
	}
	t.Fatalf("%d groups are never listed", n)
}

// age sets back the time at which a cleanup was left unfinished.
func age(t *testing.T, path string, by time.Duration) { setBack(t, path, "over", by) }

// setBack makes a time in a record one that long ago.
func setBack(t *testing.T, path, key string, by time.Duration) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	record[key] = time.Now().Add(-by)
	if data, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// only is the one file that a pattern matches.
func only(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	return files[0]
}

// The intent is on disk, with the token, before anything is asked of the API.
func TestIntentIsStoredBeforeTheCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	var stored string
	var mode os.FileMode
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "CreateContainerGroup" {
			files, _ := filepath.Glob(filepath.Join(w.config.StateDir, "*.attempt.json"))
			if len(files) == 1 {
				data, _ := os.ReadFile(files[0])
				info, _ := os.Stat(files[0])
				stored, mode = string(data), info.Mode().Perm()
			}
		}
		return ecitest.CallFault{}
	}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	token := ""
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" {
			token = c.Params.Get("ClientToken")
		}
	}
	if token == "" || !strings.Contains(stored, token) || mode != 0o600 {
		t.Errorf("token %q, stored with mode %v: %s", token, mode, stored)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// waiter tells when a text has come.
type waiter struct {
	bytes.Buffer
	text string
	seen chan struct{}
}

// await returns when the text has come; where what writes ends before, or nothing comes for a
// minute, that fails the test.
func (w *waiter) await(t testing.TB, done <-chan error) {
	t.Helper()
	select {
	case <-w.seen:
	case err := <-done:
		t.Fatalf("it ended before %q came: %v\n%s", w.text, err, w)
	case <-time.After(time.Minute):
		t.Fatalf("%q does not come", w.text)
	}
}

func (w *waiter) Write(p []byte) (int, error) {
	had := strings.Contains(w.String(), w.text)
	n, err := w.Buffer.Write(p)
	if !had && strings.Contains(w.String(), w.text) {
		close(w.seen)
	}
	return n, err
}

func stopEmptiesTheContainerAndKeepsTheGroup(t *testing.T, w *world) {
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("sleep 300 & echo ready; wait"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := &waiter{text: "ready", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	ctx, cancel := context.WithCancel(w.context(t))
	done := make(chan error, 1)
	go func() { done <- stage.Run(ctx, script, "build_script") }()
	out.await(t, done)
	cancel()
	err := <-done
	if !errors.Is(err, remote.ErrStopped) {
		t.Errorf("error %v, want ErrStopped", err)
	}
	if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
		t.Errorf("exit status %d", status)
	}
	if live := w.server.Live(); len(live) != 1 {
		t.Fatalf("%d groups, want the one of the job", len(live))
	}
	log, err := w.run(t, "after_script", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[s]leep 300'; echo after")
	if err != nil || log != "0\nafter\n" {
		t.Errorf("after_script: %q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A stage that is told to stop does not wait for a call that hangs: the SDK knows
// no context, and would hold it for [timeouts] call.
func TestStopDoesNotWaitForTheSDK(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateContainerGroup", "DescribeContainerGroups", "DeleteContainerGroup"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.Timeouts.Call, w.config.Timeouts.Delete = time.Minute, time.Minute
			if action == "DeleteContainerGroup" {
				if out, err := w.prepare(t); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			w.server.SetFaults(ecitest.Faults{Call: func(a string, _ int) ecitest.CallFault {
				if a != action {
					return ecitest.CallFault{}
				}
				cancel()
				return ecitest.CallFault{Delay: time.Hour}
			}})
			stop := func(stage *stages.Stage) error {
				if action == "DeleteContainerGroup" {
					return stage.Cleanup(ctx)
				}
				return stage.Prepare(ctx)
			}
			began := time.Now()
			err := stop(w.stage(t, new(bytes.Buffer)))
			wantError(t, err, "context canceled")
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s, with a call that may take a minute", took)
			}
			if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
				t.Errorf("exit status %d", status)
			}
			w.server.SetFaults(ecitest.Faults{})
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What a group said when it was last seen is told when prepare is stopped, and
// the section is closed.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Group: func(int) ecitest.GroupFault { return ecitest.GroupFault{PendingForever: true} }}})
	ctx, cancel := context.WithCancel(w.context(t))
	out := &waiter{text: "is Pending", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	done := make(chan error, 1)
	go func() { done <- stage.Prepare(ctx) }()
	out.await(t, done)
	cancel()
	wantError(t, <-done, "context canceled", "status Pending", "build waiting ContainerCreating")
	if log := out.String(); strings.Count(log, "section_start") != 1 || strings.Count(log, "section_end") != 1 {
		t.Errorf("the section is not closed:\n%s", log)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A group can be refused its delete while it is being scheduled: here until that was tried.
func TestCleanupOfAGroupThatIsStillScheduled(t *testing.T) {
	t.Parallel()
	tried := make(chan struct{})
	w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{DeleteWhileScheduling: "IncorrectStatus"}})
	faults := faults(t, "CreateContainerGroup:cut=after,times=1", "CreateContainerGroup:error=QuotaExceeded,skip=1")
	faults.Group = func(int) ecitest.GroupFault { return ecitest.GroupFault{ScheduleUntil: tried} }
	faults.Call = func(action string, n int) ecitest.CallFault {
		if action == "DeleteContainerGroup" && n == 1 { // the first was answered
			close(tried)
		}
		return ecitest.CallFault{}
	}
	w.server.SetFaults(faults)
	_, err := w.prepare(t)
	wantError(t, err, "QuotaExceeded")
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	codes := map[string]int{}
	for _, c := range w.server.Calls() {
		if c.Action == "DeleteContainerGroup" {
			codes[c.Code]++
		}
	}
	if codes["IncorrectStatus"] == 0 || codes[""] != 1 {
		t.Errorf("answers to deletes: %v, want refusals and then a success", codes)
	}
}
