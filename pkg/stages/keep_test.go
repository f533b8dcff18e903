package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// step is a script of a sub-stage.
type step struct{ stage, script string }

// failing prepares a job whose group is kept for so long after a failure, runs
// the steps and the job's last one, and returns the log of that.
func (w *world) failing(t *testing.T, keep time.Duration, steps ...step) string {
	t.Helper()
	w.config.Debug.KeepOnFailure = keep
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range steps {
		var build *stages.BuildError
		if _, err := w.run(t, s.stage, s.script); err != nil && !errors.As(err, &build) {
			t.Fatal(err)
		}
	}
	log, err := w.run(t, "cleanup_file_variables", "true")
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A group is kept after a failed build stage and for nothing else.
func TestKeepOnFailure(t *testing.T) {
	t.Parallel()
	failure := step{"step_script", "exit 3"}
	tests := []struct {
		name  string
		keep  time.Duration
		asked string // ECI_KEEP_ON_FAILURE
		steps []step
		kept  bool
	}{
		{"a failed script", time.Hour, "", []step{failure, {"after_script", "true"}, {"upload_artifacts_on_failure", "true"}}, true},
		{"less is asked for", time.Hour, "30m", []step{failure}, true},
		{"not by the driver's file", 0, "1h", []step{failure}, false},
		{"not by the job", time.Hour, "0", []step{failure}, false},
		{"success", time.Hour, "", []step{{"step_script", "true"}}, false},
		{"a failed after_script", time.Hour, "", []step{{"step_script", "true"}, {"after_script", "exit 1"}}, false},
		{"a failed clone", time.Hour, "", []step{{"get_sources", "exit 1"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.job(t, map[string]any{"variables": []map[string]any{{"key": "ECI_KEEP_ON_FAILURE", "value": tt.asked}}})
			begun := time.Now()
			log := w.failing(t, tt.keep, tt.steps...)
			group := w.server.Live()[0]
			figure := w.cleanupLog(t)
			deleted := w.calls()["DeleteContainerGroup"] > 0
			if deleted == tt.kept || strings.Contains(log, "is kept until") != tt.kept {
				t.Errorf("deleted is %v, the log says %q", deleted, log)
			}
			if !tt.kept {
				return
			}
			keep := tt.keep
			if tt.asked != "" {
				keep, _ = time.ParseDuration(tt.asked)
			}
			hour := keptUntil(t, log, group)
			if early := begun.Add(keep).Sub(hour); early > time.Second || hour.Sub(time.Now().Add(keep)) > time.Second {
				t.Errorf("kept until %s, for %s from %s", hour, keep, begun)
			}
			// Nobody comes back at the hour, so the figure is the one until then.
			if seconds := regexp.MustCompile(`container group's cost.* seconds=(\d+)`).FindStringSubmatch(figure); seconds == nil {
				t.Errorf("cleanup logs %q", figure)
			} else if n, err := strconv.Atoi(seconds[1]); err != nil || float64(n) < keep.Seconds()-2 {
				t.Errorf("the cost is that of %d s, want %s and more", n, keep)
			}
			if list := w.ps(t); len(list) != 1 || list[0].KeptUntil == nil || list[0].KeptUntil.Sub(hour).Abs() >= time.Second {
				t.Errorf("ps shows %+v, want it kept until %s", list, hour)
			}
			var table bytes.Buffer
			if err := w.operator(t, &table, nil).PS(w.context(t), false); err != nil {
				t.Error(err)
			}
			row(t, table.String(), group, " kept until "+hour.Format("2006-01-02 15:04:05 MST")+" ")
			if got := w.attach(t, group, "echo still here"); got != "still here\n" {
				t.Errorf("the kept group says %q", got)
			}
			if err := w.cleanup(t); err != nil {
				t.Errorf("a second cleanup ends it: %v", err)
			}
		})
	}
}

// A cancelled job has not failed by itself, whatever its last scripts do.
func TestCancelledJobIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Debug.KeepOnFailure = time.Hour
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, "echo ready; sleep 300")
	out := &waiter{text: "ready", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	ctx, cancel := context.WithCancel(w.context(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stage.Run(ctx, script, "step_script") }()
	out.await(t, done)
	cancel()
	if err := <-done; !errors.Is(err, remote.ErrStopped) {
		t.Errorf("error %v, want ErrStopped", err)
	}
	for _, last := range []string{"after_script", "cleanup_file_variables"} {
		if log, err := w.run(t, last, "true"); err != nil || strings.Contains(log, "is kept until") {
			t.Errorf("%s: %v, the log says %q", last, err, log)
		}
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	if n := w.calls()["DeleteContainerGroup"]; n != 1 {
		t.Errorf("%d deletes, want 1", n)
	}
}

// The hour that the log names is not one that ECI's deadline cuts short, and a
// deadline that is over keeps nothing.
func TestKeptNoLongerThanItsDeadline(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{20 * time.Minute, -time.Second} {
		t.Run(left.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.Debug.KeepOnFailure = time.Hour
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			deadline := time.Now().Add(left)
			setBack(t, only(t, filepath.Join(w.config.StateDir, "*.attempt.json")), "expires", -left)
			if _, err := w.run(t, "step_script", "exit 3"); err == nil {
				t.Error("a script with status 3 succeeded")
			}
			log, err := w.run(t, "cleanup_file_variables", "true")
			if err != nil {
				t.Fatal(err)
			}
			if left < 0 {
				if strings.Contains(log, "is kept until") {
					t.Errorf("the log says %q", log)
				}
			} else if hour := keptUntil(t, log, w.server.Live()[0]); hour.Sub(deadline).Abs() > 2*time.Second {
				t.Errorf("kept until %s, want the deadline %s", hour, deadline)
			}
			for range 2 { // the second ends what the first has kept
				if err := w.cleanup(t); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A cleanup that is killed before it has written anything leaves a group that was
// to be kept: it is deleted all the same, after its hour.
func TestGroupToBeKeptWithoutACleanup(t *testing.T) {
	t.Parallel()
	for _, finisher := range []string{"prepare", "reap"} {
		t.Run(finisher, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			log := w.failing(t, time.Hour, step{"step_script", "exit 3"})
			group := w.server.Live()[0]
			if out, err := w.reap(t, reaping{host: 59 * time.Minute}); err != nil {
				t.Fatal(err)
			} else { // as the job's log has it
				row(t, out, group, "kept", "for a look until "+keptUntil(t, log, group).Format("2006-01-02 15:04:05 MST"))
			}
			if finisher == "reap" {
				out, err := w.reap(t, reaping{host: 62 * time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				row(t, out, group, "deleted", "its job is over")
				row(t, out, "0 container groups left")
				return
			}
			w.job(t, map[string]any{"id": 43})
			w.env.Attempt = "0123abce"
			stage := w.stage(t, new(bytes.Buffer))
			stage.Clock = skewed{by: 62 * time.Minute}
			if err := stage.Prepare(w.context(t)); err != nil {
				t.Fatal(err)
			}
			w.awaitLive(t, 1)
			if live := w.server.Live()[0]; live == group {
				t.Errorf("the group %s is left", group)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// keptUntil is the hour that the log names.
func keptUntil(t *testing.T, log, group string) time.Time {
	t.Helper()
	_, after, found := strings.Cut(log, fmt.Sprintf("step_script failed with exit status 3: container group %s is kept until ", group))
	hour, rest, _ := strings.Cut(after, ". ")
	at, err := time.Parse("2006-01-02 15:04:05 MST", hour)
	if !found || err != nil || !strings.HasPrefix(rest, "To look into it, on the runner's host: eci-executor shell 42\n") {
		t.Fatalf("the log says %q: %v", log, err)
	}
	return at
}

// attach runs a script in build of a group, as a person would.
func (w *world) attach(t *testing.T, group, script string) string {
	t.Helper()
	var out bytes.Buffer
	stage := w.stage(t, &out)
	session := remote.Session{Output: &out, Notices: t.Output(), Settings: stage.Remote, Logger: stage.Logger,
		Diagnose: func(context.Context) error { return nil },
		Open: func(ctx context.Context, role remote.Role, command []string) (remote.Stream, error) {
			return stage.API.Exec(ctx, eci.ExecRequest{GroupID: group, Container: string(role), Command: command})
		}}
	if _, err := session.Run(w.context(t), remote.Job{Role: remote.Build, Shell: "sh", Body: []byte(script)}); err != nil {
		t.Error(err)
	}
	return out.String()
}

// At its hour a kept group ends by itself, and the next prepare or reap deletes it.
func TestKeptGroupEndsAtItsHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.failing(t, time.Hour, step{"step_script", "exit 3"})
	group := w.server.Live()[0]
	setBack(t, only(t, filepath.Join(w.config.StateDir, "*.attempt.json")), "keep_until", -5*time.Second)
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.awaitStatus(t, group, "Succeeded")
	if out, err := w.reap(t, reaping{}); err != nil {
		t.Fatal(err)
	} else {
		row(t, out, group, "Succeeded", "kept")
	}
	out, err := w.reap(t, reaping{host: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	row(t, out, group, "deleted", "its job is over")
	if left := w.stateFiles(t, "*.attempt.json"); len(left) > 0 {
		t.Errorf("state left: %v", left)
	}
}

func TestKeptGroupIsDeletedByALaterPrepare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"services": []map[string]any{{"name": "host", "alias": "db", "command": []string{"sleep", "600"}}}})
	w.failing(t, time.Hour, step{"step_script", "exit 3"})
	group := w.server.Live()[0]
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	_, err := w.prepare(t)
	wantError(t, err, "is kept for a look until", "run cleanup first")
	path := only(t, filepath.Join(w.config.StateDir, "*.attempt.json"))
	setBack(t, path, "keep_until", 2*time.Minute)
	w.env.Attempt = "0123abce"
	w.job(t, nil)
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
	w.awaitLive(t, 1) // a delete ends a group a moment after it was accepted
	if live := w.server.Live()[0]; live == group {
		t.Errorf("the kept group %s is left", group)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// What can't be made to end by itself is not kept.
func TestGroupThatCannotBeKeptIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.failing(t, time.Hour, step{"step_script", "exit 3"})
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "ExecContainerCommand" {
			return ecitest.CallFault{Status: 403, Code: "NoPermission", Message: "no"}
		}
		return ecitest.CallFault{}
	}})
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	if n := w.calls()["DeleteContainerGroup"]; n != 1 {
		t.Errorf("%d deletes, want 1", n)
	}
}
