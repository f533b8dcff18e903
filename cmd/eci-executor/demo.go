package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// demoAddress is where containers find the demo's git server: the scripts of testdata,
// recorded from a real runner, hold it. On the host it listens wherever there is a port.
const demoAddress = "127.0.0.1:8929"

func (c commands) demo() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "run a three-job pipeline on a local ECI, with containers that really run",
		Description: "Needs Linux, git, and root or unprivileged user namespaces; no account and no network. " +
			"It starts a local ECI and a git server in this process and calls the four stages as a runner does, with scripts that a real runner generated.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave the local ECI running, with commands to try by hand"}},
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			return withContainers(ctx.Context, "demo", func(run context.Context) error { return c.runDemo(run, ctx.Bool("keep")) })
		},
	}
}

func (c commands) runDemo(ctx context.Context, keep bool) (err error) {
	started := time.Now()
	dir, remove, err := c.workDir("demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	d := &demo{out: screen.New(c.stdout, c.environ), dir: dir}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(); err != nil {
		return err
	}
	for _, job := range []string{"package", "build", "deploy"} {
		if err := d.runJob(ctx, job); err != nil {
			return fmt.Errorf("job %s: %w", job, err)
		}
	}
	if err := d.awaitNoGroups(ctx); err != nil {
		return err
	}
	d.printCalls()
	d.printf("\n%d container groups left\n", len(d.server.Live()))
	d.printf("Three jobs in %s.\n", time.Since(started).Round(time.Millisecond))
	if keep {
		return d.keep(ctx)
	}
	return nil
}

// demo is the surroundings of a pipeline: a local ECI, a git server, a driver's
// file that names them, and the program's own stages called as a runner does.
type demo struct {
	out        *screen.Screen
	dir        string
	binary     string
	server     *ecitest.Server
	git        io.Closer
	gitAddress string // where it listens
}

func (d *demo) printf(format string, args ...any) {
	fmt.Fprintf(d.out, format, args...) //nolint:errcheck // a demo that can't be seen has nothing to save
}

// awaitNoGroups waits for the deletes that cleanup asked for.
func (d *demo) awaitNoGroups(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if left := d.server.AwaitNone(ctx); len(left) > 0 {
		return fmt.Errorf("%d container groups left", len(left))
	}
	return nil
}

func (d *demo) printCalls() {
	d.printf("\nAPI calls made:\n")
	order, count := []string{}, map[string]int{}
	for _, call := range d.server.Calls() {
		if count[call.Action] == 0 {
			order = append(order, call.Action)
		}
		count[call.Action]++
	}
	for _, action := range order {
		d.printf("  %3d %s\n", count[action], action)
	}
}

// keep leaves everything running until a signal.
func (d *demo) keep(ctx context.Context) error {
	job := filepath.Join(d.dir, "jobs", "package.json")
	script := filepath.Join(d.dir, "hello.sh")
	if err := os.WriteFile(script, []byte("echo hello from \"$(hostname)\"; ls -l /cache\n"), 0o700); err != nil {
		return err
	}
	command := d.binary + " --config " + d.driverFile()
	d.printf("\nThe local ECI is at %s until Ctrl-C. The stages by hand, in another terminal:\n\n", d.server.URL())
	d.printf("  export CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0\n")
	d.printf("  %s prepare --job %s\n", command, job)
	d.printf("  %s run --job %s %s build_script\n", command, job, script)
	d.printf("  %s cleanup --job %s\n", command, job)
	<-ctx.Done()
	return nil
}
