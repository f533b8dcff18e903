package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// arrivals notes how old each line is when it comes.
type arrivals struct {
	lags []time.Duration
	rest []byte
}

// Write takes lines that are the time of their writing, in nanoseconds of the clock.
func (a *arrivals) Write(p []byte) (int, error) {
	came := time.Now()
	a.rest = append(a.rest, p...)
	for {
		line, rest, whole := bytes.Cut(a.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		a.rest = rest
		wrote, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil {
			return 0, err
		}
		a.lags = append(a.lags, came.Sub(time.Unix(0, wrote)))
	}
}

// lag runs a script that tells the time every 37 ms or so, and gives the times from its
// writes to the driver's stdout, sorted.
func lag(t testing.TB, k kind, lines int) []time.Duration {
	w := newWorld(t, k, eci.Options{}, remote.DefaultSettings())
	w.prepare()
	defer w.cleanup()
	var out arrivals
	stage := w.stage(new(bytes.Buffer))
	stage.Stdout = &out
	script := filepath.Join(w.dir, "script")
	must(t, os.WriteFile(script, fmt.Appendf(nil, "i=0; while [ $i -lt %d ]; do sleep 0.0$((20 + i * 7 %% 37)); date +%%s%%N; i=$((i+1)); done", lines), 0o700))
	must(t, stage.Run(context.Background(), script, "build_script"))
	if len(out.lags) != lines {
		t.Fatalf("%d lines of %d", len(out.lags), lines)
	}
	slices.Sort(out.lags)
	return out.lags
}

// BenchmarkLag is how old a line is when the driver prints it.
func BenchmarkLag(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			for range b.N {
				lags := lag(b, k, 200)
				b.ReportMetric(float64(lags[len(lags)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "p99-ms")
			}
		})
	}
}

// TestLag holds the bounds of the benchmark, for the best of some tries: the machine may
// be busy.
func TestLag(t *testing.T) {
	const p50, p99, tries = 120 * time.Millisecond, 300 * time.Millisecond, 10
	for _, k := range kinds()[:2] {
		t.Run(k.name, func(t *testing.T) {
			for try := range tries {
				lags := lag(t, k, 60)
				half, most := lags[len(lags)/2], lags[len(lags)*99/100]
				t.Logf("p50 %s, p99 %s", half.Round(time.Millisecond), most.Round(time.Millisecond))
				if half < p50 && most < p99 {
					return
				}
				if try == tries-1 {
					t.Errorf("lines come too late: want p50 below %s, p99 below %s", p50, p99)
				}
			}
		})
	}
}

// plain is how long the same bytes take by a bare exec of cat, on the same server.
func plain(t testing.TB, w *world, file string, size int) time.Duration {
	t.Helper()
	client, err := eci.New(eci.Options{Region: w.config.Region, Endpoint: w.config.EndpointURL(), CallTimeout: time.Minute,
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
	must(t, err)
	begun := time.Now()
	stream, err := client.Exec(context.Background(), eci.ExecRequest{GroupID: w.server.Live()[0], Container: "build", Command: []string{"cat", file}})
	must(t, err)
	defer stream.Close()
	n, err := io.Copy(io.Discard, stream)
	must(t, err)
	if n != int64(size) {
		t.Fatalf("%d bytes of %d", n, size)
	}
	return time.Since(begun)
}

// BenchmarkThroughput is a log of 200 MB through a stage, in a process of the driver of
// its own, and by a bare exec of cat, in turn. It reports MB/s of both over all turns,
// their ratio, and the highest peak of the driver's resident memory.
func BenchmarkThroughput(b *testing.B) {
	driver := buildDriver(b)
	for _, k := range kinds()[:2] { // GNU's tools and busybox
		for _, megabytes := range []int{50, 200} {
			b.Run(fmt.Sprintf("%s/%d MB", k.name, megabytes), func(b *testing.B) {
				var stage, plain, peak float64 // seconds for a MB, in all
				for range b.N {
					m := throughput(b, driver, k, megabytes)
					stage, plain, peak = stage+1/m.stage, plain+1/m.plain, max(peak, m.peak)
				}
				b.ReportMetric(float64(b.N)/stage, "MB/s")
				b.ReportMetric(float64(b.N)/plain, "plain-MB/s")
				b.ReportMetric(plain/stage, "ratio")
				b.ReportMetric(peak, "peak-MiB")
			})
		}
	}
}

// TestThroughput: the driver's memory does not grow with a log, its time grows no faster
// than the log, and a stage is at least half as fast as a bare exec of cat, in the best
// of some pairs: a machine that is busy slows now the one and now the other.
func TestThroughput(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 250 MB")
	}
	const tries = 10
	driver := buildDriver(t)
	for try := range tries {
		small, large := throughput(t, driver, kinds()[0], 50), throughput(t, driver, kinds()[0], 200)
		t.Logf("MB/s of a stage, of a bare exec, MiB of memory: %.0f for 50 MB, %.0f for 200 MB", small, large)
		if large.peak >= 32e6/(1<<20) {
			t.Fatalf("the driver's memory peaked at %.0f MiB, want less than 32 MB", large.peak)
		}
		if large.stage >= small.stage/2 && large.stage >= large.plain/2 {
			return
		}
		if try == tries-1 {
			t.Errorf("%.0f MB/s for 200 MB, %.0f for 50, %.0f of cat: want about the same, and half of cat's", large.stage, small.stage, large.plain)
		}
	}
}

// measured are MB/s, and MiB of the driver's memory.
type measured struct{ stage, plain, peak float64 }

func buildDriver(t testing.TB) string {
	t.Helper()
	driver := filepath.Join(t.TempDir(), "eci-executor")
	out, err := exec.Command("go", "build", "-o", driver, "../../cmd/eci-executor").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return driver
}

func throughput(t testing.TB, driver string, k kind, megabytes int) measured {
	w := newWorld(t, k, eci.Options{}, remote.DefaultSettings())
	w.prepare()
	defer w.cleanup()
	size := megabytes * 1_000_000
	if o := w.run("build_script", fmt.Sprintf("yes a line of a log that is long | head -c %d >/builds/log", size), time.Minute); scriptStatus(o) != 0 {
		t.Fatalf("making the log: %v", o.err)
	}
	perSecond := func(d time.Duration) float64 { return float64(megabytes) / d.Seconds() }
	bare := plain(t, w, "/builds/log", size)

	script, file := filepath.Join(w.dir, "script"), filepath.Join(w.dir, "driver.toml")
	must(t, os.WriteFile(script, []byte("cat /builds/log"), 0o700))
	must(t, os.WriteFile(file, fmt.Appendf(nil, driverFile, w.server.URL(), w.config.StateDir), 0o600))
	cmd := exec.Command(driver, "--config", file, "run", script, "build_script")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "JOB_RESPONSE_FILE=" + w.env.JobResponseFile, "BUILD_FAILURE_EXIT_CODE=1",
		"SYSTEM_FAILURE_EXIT_CODE=2", "CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0", stages.AttemptVariable + "=" + w.env.Attempt}
	var count counter
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &count, &stderr
	begun := time.Now()
	must(t, cmd.Start())
	peak := make(chan float64)
	go func() { peak <- peakOf(cmd.Process.Pid) }()
	err := cmd.Wait()
	took := time.Since(begun)
	if err != nil || int(count) != size {
		t.Fatalf("%d bytes of %d, %v\n%s", count, size, err, stderr.String())
	}
	return measured{perSecond(took), perSecond(bare), <-peak}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// peakOf is the peak of a process's resident memory in MiB, as /proc last told it.
func peakOf(pid int) (peak float64) {
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return peak
		}
		_, rest, found := strings.Cut(string(status), "VmHWM:")
		if !found {
			return peak // a zombie has none
		}
		if kib, err := strconv.Atoi(strings.Fields(rest)[0]); err == nil {
			peak = float64(kib) / 1024
		}
		time.Sleep(5 * time.Millisecond)
	}
}
