package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// raiseQuota is the way out of a quota that is too small.
const raiseQuota = "Raise the vCPU quota of the region in the Quota Center of the Alibaba Cloud console, or lower concurrent in config.toml."

// quota holds the vCPU quota against what the runner may ask for at a time.
func quota(ctx context.Context, w *world) []Line {
	var usage eci.Usage
	err := w.persist(ctx, func() (err error) { usage, err = w.client.ListUsage(ctx); return err })
	switch {
	case eci.Denied(err):
		return []Line{warning(adviceOf(err, ""), "eci:ListUsage: permission missing, so the quota is not known: %s", said(err))}
	case err != nil:
		return []Line{warning(adviceOf(err, "Try again."), "%s", said(err))}
	case usage.MaxCPU <= 0:
		return []Line{warning("Look at the Quota Center of the Alibaba Cloud console.", "ECI tells no vCPU quota")}
	}
	size, told := w.asked().CPU, fmt.Sprintf("%g of %g vCPU are used", usage.UsedCPU, usage.MaxCPU)
	if usage.MaxCPU < size {
		return []Line{failed(raiseQuota, "%s, and one group takes %g", told, size)}
	}
	jobs := w.jobs()
	switch want := float64(jobs) * size; {
	case jobs == 0:
		return []Line{ok("%s; concurrent is not known", told)}
	case want > usage.MaxCPU:
		return []Line{warning(raiseQuota, "%s; %d jobs at a time of %g vCPU take %g", told, jobs, size, want)}
	default:
		return []Line{ok("%s; %d jobs at a time of %g vCPU take %g", told, jobs, size, want)}
	}
}

// jobs is how many of the driver's jobs may run at a time, 0 where the runner's file
// does not tell.
func (w *world) jobs() int {
	if w.runner == nil {
		return 0
	}
	jobs := 0
	for _, r := range w.runner.Ours(program) {
		jobs += w.runner.JobsOf(r)
	}
	return min(jobs, w.runner.Jobs())
}

// stock asks for each size or type that a group may get.
func stock(ctx context.Context, w *world) []Line {
	queries := map[string]eci.StockQuery{}
	var names []string
	add := func(name string, q eci.StockQuery) {
		names, queries[name] = append(names, name), q
	}
	for _, t := range w.cfg.Capacity.InstanceTypes {
		q := eci.StockQuery{InstanceType: t}
		if n, _ := fmt.Sscanf(t, "%g-%gGi", &q.CPU, &q.MemoryGiB); n == 2 {
			q.InstanceType = ""
		}
		add(t, q)
	}
	if len(names) == 0 {
		// With helper's part it may be no size of ECI, which rounds it up for a group.
		add(sizeOf(buildAlone(w.cfg)), eci.StockQuery{CPU: w.cfg.Build.CPU, MemoryGiB: w.cfg.Build.Memory.GiB()})
	}
	var lines []Line
	found := false
	for _, name := range names {
		line, has := w.stockOf(ctx, name, queries[name])
		lines, found = append(lines, line), found || has
	}
	if !found {
		for i := range lines {
			if lines[i].Status == Warning && strings.Contains(lines[i].Text, noZone) {
				lines[i].Status = Failed
			}
		}
	}
	return lines
}

const noZone = "no zone has it"

// stockOf tells where one size is to be had.
func (w *world) stockOf(ctx context.Context, name string, q eci.StockQuery) (line Line, found bool) {
	var with, without []string
	ask := func() (err error) {
		return w.persist(ctx, func() (err error) { with, without, err = w.client.DescribeAvailableResource(ctx, q); return err })
	}
	as := ""
	if spec, err := w.spec(); err == nil && spec.SpotStrategy != "" {
		as, q.SpotStrategy, q.SpotPriceLimit, q.SpotDuration = " as spot", spec.SpotStrategy, spec.SpotPriceLimit, spec.SpotDuration
	}
	err := ask()
	if as != "" && w.cfg.Spot.Fallback && (eci.ClassOf(err) == eci.Capacity || err == nil && len(with) == 0) {
		as = ", not as spot but at the full price"
		q.SpotStrategy, q.SpotPriceLimit, q.SpotDuration = "", 0, 0
		err = ask()
	}
	const advice = "Add vSwitches in other zones to vswitch_ids, or other types to [capacity] instance_types."
	switch {
	case eci.Denied(err):
		return warning(adviceOf(err, ""), "eci:DescribeAvailableResource: permission missing, so the stock is not known: %s", said(err)).of(name), true
	case eci.ClassOf(err) == eci.Capacity || err == nil && len(with) == 0:
		return warning(advice, "%s%s: %s", name, as, noZone).of(name), false
	case err != nil:
		return warning("Nothing is wrong with jobs if request is ok.", "%s: the stock is not told: %s", name, said(err)).of(name), true
	}
	text := name + as + ": zones " + strings.Join(with, ", ")
	if len(without) > 0 {
		text += "; not " + strings.Join(without, ", ")
	}
	return ok("%s", text).of(name), true
}
