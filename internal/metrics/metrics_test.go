package metrics_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/eci-executor/eci-executor/internal/metrics"
)

// writerVariable makes the test's binary a process that counts until it is killed or
// has counted often enough.
const writerVariable = "METRICS_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerVariable); dir != "" {
		write(dir)
		return
	}
	os.Exit(m.Run())
}

// write counts and says so after each time that it was written.
func write(dir string) {
	for range 20 {
		r := metrics.New()
		r.Add(metrics.Groups, 1, "true")
		r.Observe(metrics.Prepare, time.Second, string(metrics.Success))
		if err := r.Flush(dir, textfile(dir), time.Now()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("counted")
	}
}

func textfile(dir string) string { return filepath.Join(dir, "eci-executor.prom") }

// read is what the node exporter reads, as Prometheus would have it.
func read(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(textfile(dir))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(data)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v\n%s", problems, err, data)
	}
	return string(data)
}

// everything is a recorder that has counted in each metric.
func everything() *metrics.Recorder {
	r := metrics.New()
	r.Stage("a", "prepare", metrics.Success, time.Unix(1000, 0))
	r.Over("a")
	r.Observe(metrics.Prepare, 7*time.Second, "success")
	r.Observe(metrics.PreparePhase, 30*time.Second, "pull")
	r.Add(metrics.APICalls, 2, "CreateContainerGroup", "OK")
	r.Add(metrics.APIRetries, 1, "CreateContainerGroup", "Throttling")
	r.Add(metrics.Reconnects, 1)
	r.Add(metrics.Groups, 1, "false")
	r.Add(metrics.GroupSeconds, 61.5, "false")
	r.Add(metrics.Cost, 0.25, "CNY")
	r.Add(metrics.Reaped, 3)
	r.Set(metrics.ReapSuccess, 1000)
	return r
}

func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := everything().Flush(dir, textfile(dir), time.Unix(1000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, dir)
	for _, want := range []string{
		`eci_executor_jobs_total{outcome="success"} 2`, `eci_executor_jobs_total{outcome="build_failure"} 0`,
		`eci_executor_prepare_seconds_bucket{outcome="success",le="5"} 0`, `eci_executor_prepare_seconds_bucket{outcome="success",le="10"} 2`,
		`eci_executor_prepare_seconds_bucket{outcome="success",le="+Inf"} 2`, `eci_executor_prepare_seconds_sum{outcome="success"} 14`,
		`eci_executor_prepare_phase_seconds_bucket{phase="pull",le="30"} 2`, `eci_executor_api_calls_total{action="CreateContainerGroup",code="OK"} 4`,
		`eci_executor_api_retries_total{action="CreateContainerGroup",code="Throttling"} 2`, `eci_executor_stream_reconnects_total 2`,
		`eci_executor_container_groups_total{spot="false"} 2`, `eci_executor_container_group_seconds_total{spot="false"} 123`,
		`eci_executor_cost_total{currency="CNY"} 0.5`, `eci_executor_container_groups_reaped_total 6`, `eci_executor_reap_last_success_timestamp_seconds 1000`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, m := range metrics.Catalog() {
		if !strings.Contains(text, "# TYPE "+m.Name+" ") {
			t.Errorf("%s is not written", m.Name)
		}
	}
	if info, err := os.Stat(textfile(dir)); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("node exporter can't read it: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "metrics.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read what was counted: %v, %v", info.Mode(), err)
	}
}

// Jobs are counted once, by the stages that decide.
func TestJobs(t *testing.T) {
	now := time.Unix(10_000_000, 0)
	tests := map[string]struct {
		told func(r *metrics.Recorder)
		want string // outcome=count
	}{
		"a job that succeeds":         {func(r *metrics.Recorder) { r.Stage("a", "prepare", metrics.Success, now) }, "success"},
		"a cleanup without a prepare": {func(*metrics.Recorder) {}, ""},
		"a script that fails": {func(r *metrics.Recorder) {
			r.Stage("a", "prepare", metrics.Success, now)
			r.Stage("a", "step_script", metrics.BuildFailure, now)
			r.Stage("a", "upload_artifacts_on_failure", metrics.Success, now)
		}, "build_failure"},
		"a stage that is tried again": {func(r *metrics.Recorder) {
			r.Stage("a", "prepare", metrics.Success, now)
			r.Stage("a", "get_sources", metrics.BuildFailure, now)
			r.Stage("a", "get_sources", metrics.Success, now)
		}, "success"},
		"the first failure counts": {func(r *metrics.Recorder) {
			r.Stage("a", "prepare", metrics.Success, now)
			r.Stage("a", "step_script", metrics.Cancelled, now)
			r.Stage("a", "archive_cache", metrics.SystemFailure, now)
		}, "cancelled"},
		"an attempt that nobody cleaned up": {func(r *metrics.Recorder) {
			r.Stage("a", "prepare", metrics.SystemFailure, now.Add(-8*24*time.Hour))
		}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, first, second := t.TempDir(), metrics.New(), metrics.New()
			tt.told(first)
			second.Over("a")
			second.Over("a")
			for _, r := range []*metrics.Recorder{first, second} {
				if err := r.Flush(dir, textfile(dir), now); err != nil {
					t.Fatal(err)
				}
			}
			text := read(t, dir)
			for _, o := range metrics.Outcomes() {
				n := 0
				if string(o) == tt.want {
					n = 1
				}
				if want := fmt.Sprintf("\neci_executor_jobs_total{outcome=%q} %d\n", o, n); !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

// Many processes write at once, and some are killed: the textfile is whole whenever it
// is read, and what a process has written is never lost.
func TestManyProcesses(t *testing.T) {
	const processes, killed = 24, 8
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var mu sync.Mutex
	counted, over := 0, make(chan struct{})
	var all, reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
			if data, err := os.ReadFile(textfile(dir)); err == nil && !bytes.HasSuffix(data, []byte("eci_executor_container_groups_reaped_total 0\n")) {
				t.Errorf("a textfile that is not whole:\n%s", data)
				return
			}
		}
	})
	for i := range processes {
		all.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), writerVariable+"="+dir)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				return
			}
			times := 0
			for lines := bufio.NewScanner(out); lines.Scan(); times++ {
				if i < killed && times == i {
					cmd.Process.Kill() //nolint:errcheck // it has ended by itself
				}
			}
			if err := cmd.Wait(); err != nil && i >= killed {
				t.Errorf("%v: %s", err, stderr.String())
			}
			mu.Lock()
			counted += times
			mu.Unlock()
		})
	}
	all.Wait()
	close(over)
	reader.Wait()
	r := metrics.New() // writes what the last that was killed had only counted
	if err := r.Flush(dir, textfile(dir), time.Now()); err != nil {
		t.Fatal(err)
	}
	text, got := read(t, dir), 0
	if _, rest, ok := strings.Cut(text, "\neci_executor_container_groups_total{spot=\"true\"} "); ok {
		fmt.Sscan(rest, &got) //nolint:errcheck // 0 is wrong too
	}
	// One that is killed may have written without having said so.
	if got < counted || got > counted+killed || counted < (processes-killed)*20 {
		t.Errorf("%d counted, of %d that were told", got, counted)
	}
	if want := fmt.Sprintf("eci_executor_prepare_seconds_count{outcome=\"success\"} %d\n", got); !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}

// What is lost is begun anew and told; what can't be written is told.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		file string
		says string
		want string
	}{
		"no JSON":                         {"{", "begun anew", `eci_executor_container_groups_reaped_total 3`},
		"empty":                           {"", "begun anew", `eci_executor_container_groups_reaped_total 3`},
		"an older driver's":               {`{"groups":{"true":1}}`, "", `eci_executor_container_groups_reaped_total 3`},
		"other buckets":                   {`{"histograms":{"eci_executor_prepare_seconds":{"success":{"counts":[1,2],"sum":9}}}}`, "", `eci_executor_prepare_seconds_count{outcome="success"} 1`},
		"a series with more labels":       {`{"counters":{"eci_executor_cost_total":{"a\u001fb":1}}}`, "", `eci_executor_cost_total{currency="CNY"} 0.25`},
		"a metric that is none of ours":   {`{"counters":{"other_total":{"":1}}}`, "", `eci_executor_stream_reconnects_total 1`},
		"a histogram of other dimensions": {`{"histograms":{"eci_executor_prepare_phase_seconds":{"x":{"counts":[1],"sum":9}}}}`, "", `eci_executor_stream_reconnects_total 1`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "metrics.json"), []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			err := everything().Flush(dir, textfile(dir), time.Now())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			if text := read(t, dir); !strings.Contains(text, "\n"+tt.want+"\n") {
				t.Errorf("no %s in\n%s", tt.want, text)
			}
		})
	}
	absent := filepath.Join(dir, "absent", "eci-executor.prom")
	if err := everything().Flush(dir, absent, time.Now()); err == nil || !strings.Contains(err.Error(), "its directory must be there") {
		t.Errorf("got %v", err)
	}
	var none *metrics.Recorder
	none.Add(metrics.Reaped, 1)
	none.Set(metrics.ReapSuccess, 1)
	none.Observe(metrics.Prepare, 1, "success")
	none.Stage("a", "prepare", metrics.Success, time.Now())
	none.Over("a")
	if err := none.Flush(dir, absent, time.Now()); err != nil {
		t.Errorf("nothing that counts nothing can fail: %v", err)
	}
	if left, err := fs.Glob(os.DirFS(dir), ".tmp-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The catalog itself: names, and buckets that grow.
func TestCatalog(t *testing.T) {
	var names []string
	for _, m := range metrics.Catalog() {
		names = append(names, m.Name)
		for i := range m.Buckets {
			if i > 0 && m.Buckets[i] <= m.Buckets[i-1] {
				t.Errorf("%s: buckets %v", m.Name, m.Buckets)
			}
		}
		if !strings.HasPrefix(m.Name, "eci_executor_") || (m.Kind == metrics.Histogram) != (m.Buckets != nil) {
			t.Errorf("%+v", m)
		}
	}
	seen := map[string]bool{}
	for _, name := range names {
		seen[name] = true
	}
	if diff := cmp.Diff(len(names), len(seen)); diff != "" {
		t.Errorf("names twice: %v", names)
	}
}

// BenchmarkFlush is what a stage pays at its end: well below a millisecond.
func BenchmarkFlush(b *testing.B) {
	dir := b.TempDir()
	for i := range 60 { // as many codes as an account meets
		r := everything()
		r.Add(metrics.APICalls, 1, "DescribeContainerGroups", fmt.Sprint("Code", i))
		if err := r.Flush(dir, textfile(dir), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := everything().Flush(dir, textfile(dir), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
