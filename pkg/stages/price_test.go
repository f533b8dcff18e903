package stages_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// cleanupLog is what cleanup writes to the driver's own log, as logrus does.
func (w *world) cleanupLog(t *testing.T) string {
	t.Helper()
	var log bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&log)
	stage := w.stage(t, new(bytes.Buffer))
	stage.Logger = logger
	if err := stage.Cleanup(w.context(t)); err != nil {
		t.Fatal(err)
	}
	return log.String()
}

// The last sub-stage says what the group has cost, cleanup writes the figure to
// the runner's log, and the price is asked for once a day, while prepare waits.
func TestCostOfAJob(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		switches  ecitest.Switches
		change    func(*config.Config)
		call      func(action string, n int) ecitest.CallFault
		line, log string // patterns
		calls     int    // of two jobs; -1: a call is recorded when its caller leaves, at some time
	}{
		{"known", ecitest.Switches{}, nil, nil,
			`: \d+ s so far, 2 vCPU, 4 GiB: about 0\.0\d+ CNY \(0\.4411 an hour\)\n$`,
			`msg="container group's cost" cpu=2 currency=CNY group=eci-\w+ job=42 memory_gib=4 price=0\.\S+ seconds=\d+ spot=false`, 1},
		{"prices are of an hour", ecitest.Switches{PricePerHour: true}, nil, nil,
			`: \d+ s so far, 2 vCPU, 4 GiB: about 0\.0\d+ CNY \(0\.4411 an hour\)\n$`, `currency=CNY .* price=0\.\S+ seconds=\d+ spot=false`, 1},
		{"spot", ecitest.Switches{}, func(c *config.Config) { c.Spot = config.Spot{Strategy: "as-price-go", Duration: 1, Fallback: true} }, nil,
			`: \d+ s so far, 2 vCPU, 4 GiB, spot: about 0\.\d{4} CNY \(0\.0397 an hour\)\n$`, `currency=CNY .* price=\S+ seconds=\d+ spot=true`, 1},
		{"by instance type", ecitest.Switches{}, func(c *config.Config) { c.Capacity.InstanceTypes = []string{"ecs.c6.large"} }, nil,
			`: \d+ s so far, 2 vCPU, 4 GiB\n$`, `memory_gib=4 seconds=\d+ spot=false`, 0},
		{"refused", ecitest.Switches{}, nil, func(action string, _ int) ecitest.CallFault {
			if action == "DescribeContainerGroupPrice" {
				return ecitest.CallFault{Status: 403, Code: "Forbidden.RAM"}
			}
			return ecitest.CallFault{}
		}, `: \d+ s so far, 2 vCPU, 4 GiB\n$`, `memory_gib=4 seconds=\d+ spot=false`, 1},
		// A prepare that waited for the price would not be ready in time.
		{"never answered", ecitest.Switches{}, func(c *config.Config) { c.Timeouts.Call = time.Hour }, func(action string, _ int) ecitest.CallFault {
			if action == "DescribeContainerGroupPrice" {
				return ecitest.CallFault{Delay: time.Hour}
			}
			return ecitest.CallFault{}
		}, `: \d+ s so far, 2 vCPU, 4 GiB\n$`, `memory_gib=4 seconds=\d+ spot=false`, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: tt.switches, Faults: ecitest.Faults{Call: tt.call}, Delays: ecitest.Delays{Schedule: 2 * time.Second}})
			if tt.change != nil {
				tt.change(w.config)
			}
			for _, attempt := range []string{"0123abcd", "0123abce"} {
				w.env.Attempt = attempt
				if out, err := w.prepare(t); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				line, err := w.run(t, "cleanup_file_variables", "true")
				if err != nil || !regexp.MustCompile("^Container group eci-\\w+"+tt.line).MatchString(line) {
					t.Errorf("%v, line %q, want %s", err, line, tt.line)
				}
				if line, err := w.run(t, "after_script", "true"); err != nil || line != "" {
					t.Errorf("%v, another sub-stage says %q", err, line)
				}
				if log := w.cleanupLog(t); !regexp.MustCompile(tt.log).MatchString(log) {
					t.Errorf("cleanup logs %q, want %s", log, tt.log)
				}
			}
			if n := w.calls()["DescribeContainerGroupPrice"]; tt.calls >= 0 && n != tt.calls {
				t.Errorf("the price was asked for %d times, want %d", n, tt.calls)
			}
		})
	}
}

// The seconds that are counted are those of the bill up to the delete, or more: only
// what ECI bills for the end of a group, if it does, is missing.
func TestBill(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprint("stops at the delete ", stops), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{BillingStopsAtDelete: stops}, Delays: ecitest.Delays{Delete: time.Second}})
			w.config.Metrics.Textfile = filepath.Join(t.TempDir(), "eci-executor.prom")
			w.mustPrepare(t)
			if err := w.counted(t, "cleanup", cleanupStage); err != nil {
				t.Fatal(err)
			}
			w.awaitNoGroups(t)
			bills := w.server.Bills()
			if len(bills) != 1 {
				t.Fatalf("bills %v", bills)
			}
			_, text, _ := strings.Cut(w.textfile(t), `group_seconds_total{spot="false"} `)
			text, _, _ = strings.Cut(text, "\n")
			counted, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			billed := bills[0].Until.Sub(bills[0].From).Seconds()
			if missing := bills[0].Gone.Sub(bills[0].Deleted).Seconds(); !stops && counted < billed-missing || stops && counted < billed {
				t.Errorf("%f s counted, %f billed, %f of them after the delete", counted, billed, missing)
			}
		})
	}
}

// A cache that is damaged is none; one of yesterday is asked for anew.
func TestDamagedPrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Delays: ecitest.Delays{Schedule: 2 * time.Second}})
	prices := filepath.Join(w.config.StateDir, "price-*.json")
	for i, attempt := range []string{"0123abcd", "0123abce", "0123abcf"} {
		w.env.Attempt = attempt
		if out, err := w.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if n := w.calls()["DescribeContainerGroupPrice"]; n != i+1 {
			t.Errorf("the price was asked for %d times, want %d", n, i+1)
		}
		write(t, only(t, prices), []string{`{"asked":`, `{"asked":"2026-01-01T00:00:00Z","price":{"PerSecond":7,"Currency":"CNY"}}`, ""}[i])
		if err := w.cleanup(t); err != nil {
			t.Fatal(err)
		}
	}
}

// The figure of a group that was never ready is none, and cleanup says nothing.
func TestNoCostWithoutAGroup(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.stage(t, new(bytes.Buffer)).Prepare(ctx); err == nil {
		t.Fatal("prepare succeeded")
	}
	if log := w.cleanupLog(t); log != "" {
		t.Errorf("cleanup logs %q", log)
	}
}
