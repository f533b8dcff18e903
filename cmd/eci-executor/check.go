package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/check"
)

func (c commands) check() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "look at everything that jobs need, and say what to do where it is not right",
		Description: "A line for each check: ok, warning, failed or skipped, and what to do. Exit status 0: all is right; 1: there are warnings; 2: something has failed. " +
			"Without --live nothing is changed in the cloud: calls only read, are dry runs, or name a container group that can't exist; on each NAS a small file is written and removed. " +
			"Run it on the runner's host, as the user that gitlab-runner runs as. docs/check.md has the list.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "live", Usage: "run a tiny job too, in a container group of its own that is deleted at the end, and ask it what ECI's documentation leaves open"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
			&cli.StringFlag{Name: "runner-config", Usage: "the runner's `FILE`", DefaultText: check.DefaultRunnerFile},
			&cli.StringFlag{Name: "runner-version", Usage: "`VERSION` of the runner, where there is no gitlab-runner on PATH", DefaultText: "that of gitlab-runner"},
		},
		Before: noArguments,
		Action: c.runCheck,
	}
}

func (c commands) runCheck(ctx *cli.Context) error {
	file, err := filepath.Abs(ctx.String("config")) // to be found in the runner's arguments
	if err != nil {
		return err
	}
	options := check.Options{
		ConfigFile: file, RunnerFile: ctx.String("runner-config"), NewClient: newClient,
		RunnerVersion: ctx.String("runner-version"), Live: ctx.Bool("live"),
	}
	if options.RunnerVersion == "" {
		options.RunnerVersion = c.env.Custom["CI_RUNNER_VERSION"] // as for a stage by hand
	}
	tell, done := c.teller(ctx.Bool("json"), options.Live)
	report := check.Run(ctx.Context, options, tell)
	done()
	if ctx.Bool("json") {
		if err := report.WriteJSON(c.stdout); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(c.stdout, "\n%s", report.Summary()); err != nil {
		return err
	}
	if status := report.ExitStatus(); status != 0 {
		return cli.Exit("", status)
	}
	return nil
}

// teller prints each line as it comes, and shows a person what is waited for.
func (c commands) teller(quiet, live bool) (tell func(check.Line), done func()) {
	if quiet {
		return func(check.Line) {}, func() {}
	}
	out := screen.New(c.stdout, c.environ)
	next := map[string]string{}
	checks := check.List()
	for i, following := range checks[1:] {
		next[checks[i].Name] = "looking at " + following.Name
	}
	if live {
		next[checks[len(checks)-1].Name] = "running a tiny job"
	}
	out.Wait("looking at " + checks[0].Name)
	tell = func(l check.Line) {
		word := l.Status.String()
		colour := map[check.Status]screen.Colour{check.OK: screen.Green, check.Warning: screen.Yellow, check.Failed: screen.Red}[l.Status]
		fmt.Fprint(out, out.Paint(colour, word)+strings.TrimPrefix(l.String(), word)) //nolint:errcheck // the exit status tells too
		if what, known := next[l.Check]; known {
			out.Wait(what)
		}
	}
	return tell, func() { out.Wait("") }
}
