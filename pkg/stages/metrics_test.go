package stages_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

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
	problems, err := promlint.New(strings.NewReader(string(data))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v\n%s", problems, err, data)
	}
	return string(data)
}

// Each group that ends is counted once, with what it cost.
func TestMetricsOfAJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	for range 2 {
		if out, err := w.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
			if action == "DeleteContainerGroup" && n%2 == 0 { // the first cleanup can't finish, the second does
				return ecitest.CallFault{Status: 403, Code: "NoPermission", Message: "no"}
			}
			return ecitest.CallFault{}
		}})
		if err := w.cleanup(t); err == nil {
			t.Error("the delete was accepted: the test shows nothing")
		}
		if err := w.cleanup(t); err != nil {
			t.Fatal(err)
		}
		w.awaitNoGroups(t, 10*time.Second)
	}
	text := w.textfile(t)
	for _, want := range []string{"\neci_executor_container_groups_total{spot=\"false\"} 2\n", "\neci_executor_container_group_seconds_total{spot=\"false\"} ", "\neci_executor_cost_total{currency=\"CNY\"} "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if info, err := os.Stat(w.config.Metrics.Textfile); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("node exporter can't read it: %v, %v", info.Mode(), err)
	}
}

// Many processes write at once, and nothing is lost.
func TestMetricsOfManyProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	cost := &stages.Cost{Spot: true, PerSecond: 0.5, Currency: "USD"}
	var writers sync.WaitGroup
	for range 20 {
		stage := w.stage(t, nil)
		writers.Go(func() {
			for range 5 {
				stage.Count(cost, 2)
			}
		})
	}
	writers.Wait()
	text := w.textfile(t)
	for _, want := range []string{"container_groups_total{spot=\"true\"} 100\n", "group_seconds_total{spot=\"true\"} 200\n", "cost_total{currency=\"USD\"} 100\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// No job fails by its metrics; a damaged tally is begun anew.
func TestMetricsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "absent", "eci-executor.prom")
	w.writeState(t, "metrics.json", "{")
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
	w.stage(t, nil).Count(&stages.Cost{}, 1)
	if text := w.textfile(t); !strings.Contains(text, "container_groups_total{spot=\"false\"} 2\n") {
		t.Errorf("got\n%s", text)
	}
}
