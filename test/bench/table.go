package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table is what is printed: what, ours, the floor, the ratio, and the target.
type table struct{ w *tabwriter.Writer }

func newTable(out io.Writer) *table {
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.line("", "ours", "floor", "ratio", "target")
	return t
}

func (t *table) flush() error { return t.w.Flush() }

func (t *table) line(cells ...string) {
	fmt.Fprintln(t.w, strings.Join(cells, "\t")) //nolint:errcheck // flush tells it
}

// row is one figure that has no floor; target may be empty.
func (t *table) row(what, ours, target string) { t.line(what, ours, "", "", target) }

// beside is one time beside its floor.
func (t *table) beside(what string, ours, floor time.Duration, target string) {
	t.line(what, ms(ours), ms(floor), fmt.Sprintf("%.1f", float64(ours)/float64(max(floor, 1))), target)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func fields(s string) []string { return strings.Fields(s) }

// driver has the size of the binary and the time of a start that does nothing.
func (t *table) driver(ctx context.Context, driver string) error {
	info, err := os.Stat(driver)
	if err != nil {
		return err
	}
	starts, cpu, err := repeated(ctx, 40, driver, "version")
	if err != nil {
		return err
	}
	bare, _, err := repeated(ctx, 40, "/bin/true")
	if err != nil {
		return err
	}
	t.row("binary, stripped", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), "< 20 MB")
	t.beside("start-up", starts, bare, "< 8 ms")
	t.row("start-up, CPU", ms(cpu), "")
	return nil
}

// repeated is the median time and CPU of a command.
func repeated(ctx context.Context, n int, name string, args ...string) (whole, cpu time.Duration, err error) {
	var times, cpus []time.Duration
	for range n {
		command := exec.CommandContext(ctx, name, args...) //nolint:gosec // the benchmark's own choice
		begun := time.Now()
		if err := command.Run(); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(begun))
		cpus = append(cpus, command.ProcessState.UserTime()+command.ProcessState.SystemTime())
	}
	return quantile(times, 0.5), quantile(cpus, 0.5), nil
}

// hostFloor is a stage of a driver that does nothing but run `bash "$1"` on the host,
// but for the script itself.
func hostFloor(ctx context.Context, dir string) (time.Duration, error) {
	file := dir + "/floor"
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil { //nolint:gosec // a script
		return 0, err
	}
	var times []time.Duration
	for range 40 {
		begun := time.Now()
		out, err := exec.CommandContext(ctx, "bash", file).Output() //nolint:gosec // the benchmark's own script
		if err != nil {
			return 0, err
		}
		one, err := timesOf(string(out), begun, time.Now())
		if err != nil {
			return 0, err
		}
		times = append(times, one.own())
	}
	return quantile(times, 0.5), nil
}

// alone has the rows of jobs that are the only ones of their host.
func (t *table) alone(ctx context.Context, p profile, w *world, results []result) error {
	prices := 0
	for _, c := range w.server.Calls() {
		if c.Action == "DescribeContainerGroupPrice" {
			prices++
		}
	}
	first := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return !r.first })
	for _, r := range first { // which ask, for all jobs of their host for a day
		r.calls["DescribeContainerGroupPrice"] = prices / len(first)
	}
	onHost, err := hostFloor(ctx, w.dir)
	if err != nil {
		return err
	}
	var own, bare, toBegin, cpu, both, prepare, anyPrepare, toDelete, billed, idle []time.Duration
	perJob, firstCalls, mostPolls, firstPolls := 0.0, 0, 0, 0
	for _, r := range results {
		for _, one := range r.runs {
			own, toBegin, cpu = append(own, one.own()), append(toBegin, one.toBegin), append(cpu, one.cpu)
		}
		bare, both = append(bare, r.floor...), append(both, r.config+r.cleanup)
		anyPrepare = append(anyPrepare, r.prepare)
		if r.first {
			firstCalls, firstPolls = max(firstCalls, sum(r.calls)-r.polls), max(firstPolls, r.polls)
		} else {
			prepare, mostPolls = append(prepare, r.prepare), max(mostPolls, r.polls)
		}
		toDelete = append(toDelete, r.toDelete)
		billed, idle = append(billed, r.billed), append(idle, r.idle)
		perJob += float64(sum(r.calls)-r.polls) / float64(len(results))
	}
	t.line(fmt.Sprintf("%s, %d jobs of %d stages, each alone on its host, %s", p.name, len(results), len(subStages()), connections(w.shared)))
	t.row("  API calls a job besides polling", fmt.Sprintf("%.2f; %d in a host's first job", perJob, firstCalls), "<= 10")
	t.row("  of these", actions(results), "")
	t.row("  polls a job, at most", fmt.Sprintf("%d; %d in a host's first job", mostPolls, firstPolls), "<= 15")
	t.beside("  run, beyond its script, over bash on the host", quantile(own, 0.5), onHost, "")
	t.beside("  run, beyond its script, over a bare exec in the container", quantile(own, 0.5), quantile(bare, 0.5), "")
	limit, begins := map[string]string{"zero": "<= 20 ms", "cloud": "<= 25 ms"}[p.name], ""
	if w.shared {
		begins = "< 30 ms"
	}
	t.row("  run, of our own", ms(quantile(own, 0.5)-quantile(bare, 0.5)), limit)
	t.row("  run, from its start to the script's", ms(quantile(toBegin, 0.5)), begins)
	t.row("  run, CPU", ms(quantile(cpu, 0.5)), "<= 40 ms")
	t.row("  config and cleanup", ms(quantile(both, 0.5)-p.slower()), "<= 25 ms, API calls not counted")
	t.delay("  prepare's delay after the group can be used, p50", prepare, anyPrepare, 0.5, "<= 0.4 s")
	t.delay("  prepare's delay after the group can be used, p95", prepare, anyPrepare, 0.95, "<= 1 s")
	t.row("  from the job's last line to the delete call", ms(quantile(toDelete, 0.95)), "< 300 ms")
	t.row("  billed a job", inSeconds(quantile(billed, 0.5)), "")
	t.row("  of that idle", inSeconds(quantile(idle, 0.5)), "")
	return nil
}

// delay is that of jobs whose host has learned, and of all.
func (t *table) delay(what string, learnt, all []time.Duration, q float64, target string) {
	t.row(what, fmt.Sprintf("%s; %s with each host's first job", inSeconds(quantile(learnt, q)), inSeconds(quantile(all, q))), target)
}

func sumOf(values []float64) (all float64) {
	for _, v := range values {
		all += v
	}
	return all
}

func sum(counts map[string]int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

// actions are the calls of a job by action, polls apart.
func actions(results []result) string {
	total := map[string]int{}
	for _, r := range results {
		for action, n := range r.calls {
			total[action] += n
		}
		total["DescribeContainerGroups"] -= r.polls
	}
	var parts []string
	for _, action := range slices.Sorted(maps.Keys(total)) {
		if total[action] > 0 {
			parts = append(parts, fmt.Sprintf("%s %.3g", action, float64(total[action])/float64(len(results))))
		}
	}
	return strings.Join(parts, ", ")
}

// perMinute are the documented limits of the actions that a job makes (sources.md: limits).
func perMinute() map[string]float64 {
	return map[string]float64{"CreateContainerGroup": 1000, "DeleteContainerGroup": 1000, "DescribeContainerGroups": 2000,
		"DescribeContainerGroupPrice": 1000, "ExecContainerCommand": 500, "DescribeContainerLog": 500}
}

// crowd has the rows of jobs that one host does at the same time.
func (t *table) crowd(w *world, c crowded) {
	failed, polls := 0, 0
	for _, r := range c.results {
		if r.failed != nil {
			failed++
			fmt.Fprintln(os.Stderr, r.failed) // the table counts it
		}
		polls += r.polls
	}
	total, refused := map[string]float64{}, 0
	for _, call := range c.calls {
		if strings.HasPrefix(call.Code, "Throttling") {
			refused++
		}
		total[call.Action]++
	}
	n := float64(len(c.results))
	shared := total["DescribeContainerGroupStatus"]
	jobs, narrowest := math.Inf(1), ""
	for action, limit := range perMinute() {
		if most := limit / (total[action] / n); most < jobs {
			jobs, narrowest = most, action
		}
	}
	target := ""
	if w.shared {
		target = ">= 400"
	}
	t.line(fmt.Sprintf("%s, %d jobs at once on a host that has done one before, within the documented limits, %s", w.name, len(c.results), connections(w.shared)))
	t.row("  failed", fmt.Sprint(failed), "0")
	t.row("  calls refused by the limits", fmt.Sprint(refused), "0")
	t.row("  polls a job", fmt.Sprintf("%.1f, %.2f of them shared", (float64(polls)+shared)/n, shared/n), "<= 5")
	t.row("  jobs a minute within the limits", fmt.Sprintf("%.0f: %s %.2f a job", jobs, narrowest, total[narrowest]/n), target)
	t.row("  took", inSeconds(c.took), "")
}

// streams has the rows of jobs that print at the same time.
func (t *table) streams(s streamed) {
	t.line(fmt.Sprintf("%d jobs that print at the same time", s.jobs))
	t.row("  failed", fmt.Sprint(s.failed), "0")
	t.row("  run's private memory, at most", fmt.Sprintf("%.1f MiB of %.1f resident", quantile(s.private, 1), quantile(s.resident, 1)), "<= 10 MB")
	t.row("  private memory of all of them", fmt.Sprintf("%.2f GiB", sumOf(s.private)/1024), "< 3.5 GB with their runner")
	t.row("  run's CPU for 20 s and 20 lines", ms(quantile(s.cpu, 0.5)), "<= 40 ms")
	t.row("  a line's lag, p50", ms(quantile(s.lags, 0.5)), "")
	t.row("  a line's lag, p99", ms(quantile(s.lags, 0.99)), "< 1 s")
}

// runner has the rows of jobs that print at the same time, with their runner.
func (t *table) runner(s ran) {
	t.line(fmt.Sprintf("%d jobs of a real runner that print at the same time, %s", s.jobs, connections(true)))
	t.row("  failed", fmt.Sprint(s.failed), "0")
	t.row("  memory of runner, drivers and relays", fmt.Sprintf("%.2f GiB, of it the runner %.2f", s.all/1024, s.runner.share/1024), "< 3.5 GB")
	t.row("  private memory of a driver, at most", fmt.Sprintf("%.1f MiB", quantile(s.drivers, 1)), "<= 10 MB")
	t.row("  private memory of a relay, at most", fmt.Sprintf("%.1f MiB", quantile(s.relays, 1)), "<= 6 MB")
	t.row("  processes", fmt.Sprintf("%d drivers, %d relays", len(s.drivers), len(s.relays)), "")
	t.row("  a line's lag to the driver's stdout, p50", ms(quantile(s.stdout, 0.5)), "")
	t.row("  a line's lag to the driver's stdout, p99", ms(quantile(s.stdout, 0.99)), "< 1 s")
	t.row("  to GitLab, to which the runner sends each second, p50", ms(quantile(s.trace, 0.5)), "")
	t.row("  to GitLab, p99", ms(quantile(s.trace, 0.99)), "")
	t.row("  until all were there", inSeconds(s.up), "")
}
