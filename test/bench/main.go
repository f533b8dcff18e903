package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// options are the flags.
type options struct {
	profiles string
	hosts    int
	jobs     int
	pull     time.Duration
	seed     uint64
	shared   bool
	crowd    int
	stream   int
	runner   int
	overlap  bool
	pprof    string
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == teeCommand {
		exit(tee(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.profiles, "profile", "zero,cloud", "`PROFILES` to measure: zero, cloud")
	flag.IntVar(&o.hosts, "hosts", 6, "runners' hosts that work at the same time in cloud, each with one job at a time")
	flag.IntVar(&o.jobs, "jobs", 6, "jobs of each host, one after the other")
	flag.DurationVar(&o.pull, "pull", 4*time.Second, "what pulling each image takes in cloud")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is drawn")
	flag.IntVar(&o.crowd, "crowd", 200, "jobs at the same time on one host, with the documented limits of each action in cloud; 0 for none")
	flag.IntVar(&o.stream, "stream", 20, "jobs that print at the same time, for memory and lag; 0 for none")
	flag.IntVar(&o.runner, "runner", 200, "jobs of a real gitlab-runner that print at the same time; 0 for none")
	flag.BoolVar(&o.overlap, "overlap", true, "measure what becomes of the wait for an image of build of 30 s")
	flag.StringVar(&o.pprof, "pprof", "", "instead of the table, write CPU profiles of the driver's processes to `DIR` and print the tops of them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	exit(err)
}

// exit ends the process, with the status of a command that failed.
func exit(err error) {
	var failed *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &failed):
		os.Exit(failed.ExitCode())
	}
	fmt.Fprintf(os.Stderr, "bench: %v\n", err) // nowhere left to say it
	os.Exit(1)
}

// bench takes each profile through its jobs and prints the table.
func bench(ctx context.Context, o options) (err error) {
	if err := sandbox.Supported(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "eci-executor-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.pprof != "" {
		return profileCPU(ctx, o, dir, os.Stdout)
	}
	driver, err := build(ctx, dir, "")
	if err != nil {
		return err
	}
	t := newTable(os.Stdout)
	if err := t.driver(ctx, driver); err != nil {
		return err
	}
	for _, name := range strings.FieldsFunc(o.profiles, func(r rune) bool { return r == ',' }) {
		p, known := profiles(o)[name]
		if !known {
			return fmt.Errorf("unknown profile %q: it is zero or cloud", name)
		}
		for _, shared := range []bool{false, true} {
			o.shared = shared
			if err := measure(ctx, p, o, driver, filepath.Join(dir, fmt.Sprint(name, shared)), t); err != nil {
				return fmt.Errorf("profile %s, %s: %w", name, connections(shared), err)
			}
		}
	}
	if o.overlap {
		if err := measureOverlap(ctx, o, driver, filepath.Join(dir, "overlap"), t); err != nil {
			return fmt.Errorf("the wait for the build image: %w", err)
		}
	}
	if o.stream > 0 {
		if err := measureStreams(ctx, o, driver, filepath.Join(dir, "stream"), t); err != nil {
			return fmt.Errorf("streaming: %w", err)
		}
	}
	if o.runner > 0 {
		if err := measureRunner(ctx, o, driver, filepath.Join(dir, "runner"), t); err != nil {
			return fmt.Errorf("streaming with a runner: %w", err)
		}
	}
	return t.flush()
}

// connections are how a job's stages reach their group.
func connections(shared bool) string {
	if shared {
		return "one connection for a job"
	}
	return "a connection for each stage"
}

// measure takes a profile's jobs through their stages: alone, and as a crowd.
func measure(ctx context.Context, p profile, o options, driver, dir string, t *table) (err error) {
	hosts, jobs := 1, 5*o.jobs
	if p.name == "cloud" {
		hosts, jobs = o.hosts, o.jobs
	}
	if o.shared {
		jobs = (jobs + 1) / 2 // what differs is the same in each
	}
	w, err := newWorld(p, o, driver, filepath.Join(dir, "alone"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	results, err := w.alone(ctx, hosts, jobs)
	if err != nil {
		return err
	}
	if err := t.alone(ctx, p, w, results); err != nil {
		return err
	}
	if o.crowd == 0 || p.name != "cloud" {
		return nil
	}
	many, err := newWorld(p.limited(), o, driver, filepath.Join(dir, "crowd"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.close()) }()
	c, err := many.crowd(ctx, o.crowd)
	if err != nil {
		return err
	}
	t.crowd(many, c)
	return nil
}

// quantile is the q-th of values, which it sorts; 0 where there are none.
func quantile[T int | float64 | time.Duration](values []T, q float64) (v T) {
	if len(values) == 0 {
		return v
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}
