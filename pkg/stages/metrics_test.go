package stages_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// textfile is what the node exporter reads, as Prometheus would have it.
func (w *world) textfile(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(w.config.Metrics.Textfile)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(data)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v\n%s", problems, err, data)
	}
	return string(data)
}

// counted takes a stage, as a process of its own, to its end.
func (w *world) counted(t *testing.T, name string, do func(context.Context, *stages.Stage) error) error {
	t.Helper()
	stage := w.stage(t, new(bytes.Buffer))
	stage.Metrics = metrics.New()
	ctx := w.context(t)
	err := do(ctx, stage)
	stage.Ended(ctx, name, time.Second, err)
	return err
}

func prepareStage(ctx context.Context, s *stages.Stage) error { return s.Prepare(ctx) }
func cleanupStage(ctx context.Context, s *stages.Stage) error { return s.Cleanup(ctx) }

// want holds lines of the textfile, as regular expressions.
func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !regexp.MustCompile("(?m)^" + line + "$").MatchString(text) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// Each group that ends is counted once, with what it cost, and each job with how it ended.
func TestMetricsOfAJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("exit 3"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := w.counted(t, "prepare", prepareStage); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			err := w.counted(t, "step_script", func(ctx context.Context, s *stages.Stage) error { return s.Run(ctx, script, "step_script") })
			if err == nil {
				t.Error("a script that fails has succeeded")
			}
		}
		w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
			if action == "DeleteContainerGroup" && n%2 == 0 { // the first cleanup can't finish, the second does
				return ecitest.CallFault{Status: 403, Code: "NoPermission", Message: "no"}
			}
			return ecitest.CallFault{}
		}})
		if err := w.counted(t, "cleanup", cleanupStage); err == nil {
			t.Error("the delete was accepted: the test shows nothing")
		}
		if err := w.counted(t, "cleanup", cleanupStage); err != nil {
			t.Fatal(err)
		}
		w.awaitNoGroups(t)
	}
	wantLines(t, w.textfile(t),
		`eci_executor_container_groups_total\{spot="false"\} 2`, `eci_executor_container_group_seconds_total\{spot="false"\} [0-9.]+`,
		`eci_executor_cost_total\{currency="CNY"\} [0-9.e-]+`,
		`eci_executor_jobs_total\{outcome="success"\} 1`, `eci_executor_jobs_total\{outcome="build_failure"\} 1`,
		`eci_executor_jobs_total\{outcome="system_failure"\} 0`, `eci_executor_prepare_seconds_count\{outcome="success"\} 2`,
		`eci_executor_prepare_phase_seconds_count\{phase="create"\} 2`, `eci_executor_prepare_phase_seconds_count\{phase="schedule"\} 2`,
		`eci_executor_prepare_phase_seconds_count\{phase="pull"\} 2`, `eci_executor_prepare_phase_seconds_count\{phase="start"\} 2`)
}

// A job that is cleaned up two days later has cost no more than until its deadline, here
// 20 minutes, at which ECI ended its group.
func TestMetricsOfALateCleanup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	if err := w.counted(t, "prepare", prepareStage); err != nil {
		t.Fatal(err)
	}
	err := w.counted(t, "cleanup", func(ctx context.Context, s *stages.Stage) error {
		s.Clock = skewed{by: 48 * time.Hour}
		return s.Cleanup(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, w.textfile(t), `eci_executor_container_group_seconds_total\{spot="false"\} 1[12][0-9]{2}(\.[0-9]+)?`)
	w.awaitNoGroups(t)
}

// A connection that was lost is counted.
func TestMetricsOfReconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var once sync.Once
	w.server.SetFaults(ecitest.Faults{Exec: func(int) (f ecitest.ExecFault) {
		once.Do(func() { f.Drop, f.DropAfter = true, 100 })
		return f
	}})
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := w.counted(t, "step_script", func(ctx context.Context, s *stages.Stage) error { return s.Run(ctx, script, "step_script") })
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, w.textfile(t), `eci_executor_stream_reconnects_total [1-9]\d*`)
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.awaitNoGroups(t)
}

// How a job ended, as the stages tell it.
func TestMetricsOfOutcomes(t *testing.T) {
	t.Parallel()
	build, system := &stages.BuildError{Status: 1}, errors.New("no answer")
	tests := map[string]struct {
		stages []string
		errs   []error
		cancel bool
		want   string
	}{
		"prepare fails for the author":     {[]string{"prepare"}, []error{build}, false, "build_failure"},
		"prepare fails for the operator":   {[]string{"prepare"}, []error{system}, false, "system_failure"},
		"cancelled while it runs":          {[]string{"prepare", "step_script"}, []error{nil, system}, true, "cancelled"},
		"after_script decides nothing":     {[]string{"prepare", "step_script", "after_script"}, []error{nil, nil, build}, false, "success"},
		"the end of the log decides":       {[]string{"prepare", "step_script"}, []error{nil, system}, false, "system_failure"},
		"get_sources is tried three times": {[]string{"prepare", "get_sources", "get_sources"}, []error{nil, build, nil}, false, "success"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
			for i, stage := range tt.stages {
				s := w.stage(t, new(bytes.Buffer))
				s.Metrics = metrics.New()
				ctx, cancel := context.WithCancel(t.Context())
				if tt.cancel && i == len(tt.stages)-1 {
					cancel()
				}
				s.Ended(ctx, stage, time.Second, tt.errs[i])
				cancel()
			}
			if err := w.counted(t, "cleanup", func(context.Context, *stages.Stage) error { return nil }); err != nil {
				t.Fatal(err)
			}
			wantLines(t, w.textfile(t), `eci_executor_jobs_total\{outcome="`+tt.want+`"\} 1`)
		})
	}
}

// Groups that reap deletes are counted, and that it had nothing to complain of.
func TestMetricsOfReap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	stage := w.stage(t, new(bytes.Buffer))
	if err := stage.Prepare(w.context(t)); err != nil {
		t.Fatal(err)
	}
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "DeleteContainerGroup" {
			return ecitest.CallFault{Status: 403, Code: "NoPermission", Message: "no"}
		}
		return ecitest.CallFault{}
	}})
	if err := w.cleanup(t); err == nil {
		t.Fatal("the delete was accepted: the test shows nothing")
	}
	w.server.SetFaults(ecitest.Faults{})
	for _, dry := range []bool{true, false} {
		var out bytes.Buffer
		reaper := stages.Reaper{Config: w.config, API: stage.API, Clock: stages.SystemClock{}, Stdout: &out, Metrics: metrics.New()}
		if err := reaper.Reap(w.context(t), stages.ReapOptions{DryRun: dry}); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if _, err := os.Stat(w.config.Metrics.Textfile); dry != errors.Is(err, os.ErrNotExist) {
			t.Errorf("dry run %t: %v", dry, err)
		}
	}
	wantLines(t, w.textfile(t), `eci_executor_container_groups_reaped_total 1`, `eci_executor_reap_last_success_timestamp_seconds 1.\d+e\+09`)
	w.awaitNoGroups(t)
}

// No job fails by its metrics.
func TestMetricsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "absent", "eci-executor.prom")
	w.writeState(t, "metrics.json", "{")
	if err := w.counted(t, "prepare", prepareStage); err != nil {
		t.Fatal(err)
	}
	if err := w.counted(t, "cleanup", cleanupStage); err != nil {
		t.Fatal(err)
	}
	w.awaitNoGroups(t)
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	if err := w.counted(t, "cleanup", cleanupStage); err != nil {
		t.Fatal(err)
	}
	if text := w.textfile(t); !strings.Contains(text, "eci_executor_jobs_total{outcome=\"success\"} 1\n") {
		t.Errorf("got\n%s", text)
	}
}
