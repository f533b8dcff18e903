package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// process is what the program takes from its surroundings.
type process struct {
	args           []string
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// statusError ends the program with a status of its own.
type statusError struct {
	status int
	err    error // nil: everything was said
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// run is the program; it returns the exit status. Every error is printed to
// stderr, which in config, prepare and run is the job's log.
func run(ctx context.Context, p process) int {
	env := stages.ReadEnv(p.environ)
	app := newApp(p, env)
	err := app.RunContext(ctx, p.args)
	var exit cli.ExitCoder
	if errors.As(err, &exit) && exit.Error() == "" { // the command has said all
		return exit.ExitCode()
	}
	if own, ok := errors.AsType[*statusError](err); ok {
		p.printError(own.err)
		return own.status
	}
	p.printError(err)
	status, err := env.ExitStatus(err)
	p.printError(err)
	return status
}

// printError says what went wrong, but for a script that has said so itself.
func (p process) printError(err error) {
	var build *stages.BuildError
	if err == nil || errors.As(err, &build) && build.Message == "" {
		return
	}
	fmt.Fprintf(p.stderr, "%s: eci-executor: %v\n", screen.New(p.stderr, p.environ).Paint(screen.Red, "ERROR"), err) //nolint:errcheck // nowhere left to say it
}

func newApp(p process, env stages.Env) *cli.App {
	app := &cli.App{
		Name:                 "eci-executor",
		Usage:                "GitLab CI jobs as container groups of Alibaba Cloud ECI",
		Description:          "The driver of GitLab Runner's custom executor (https://docs.gitlab.com/runner/executors/custom/): config, prepare, run and cleanup are its stages, called by the runner or by hand.",
		Version:              version(),
		HideVersion:          true,
		EnableBashCompletion: true,
		Writer:               p.stdout,
		ErrWriter:            p.stderr,
		ExitErrHandler:       func(*cli.Context, error) {}, // run decides on the exit status
		Flags: append(logFlags(),
			&cli.StringFlag{Name: "config", Usage: "the driver's `FILE`", EnvVars: []string{"ECI_EXECUTOR_CONFIG"}, Value: config.DefaultPath},
		),
		DisableSliceFlagSeparator: true, // a fault of sim holds commas
		OnUsageError:              usageError,
	}
	commands := commands{process: p, env: env}
	app.Commands = []*cli.Command{
		commands.config(), commands.prepare(), commands.run(), commands.cleanup(),
		commands.check(), commands.ps(), commands.logs(), commands.shell(), commands.reap(), commands.imageCache(), commands.demo(), commands.sim(), commands.completion(), commands.man(), commands.version(), commands.relay(),
	}
	for _, c := range app.Commands {
		for _, c := range append(c.Subcommands, c) {
			c.OnUsageError = app.OnUsageError
			if c.Action != nil {
				c.Action = commands.guard(noEmptyFlags(c.Action))
			}
		}
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return fmt.Errorf("unknown command %q; see eci-executor --help", c.Args().First())
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

// usageError says what to do about a mistake in the flags, whose words are those of
// package flag.
func usageError(ctx *cli.Context, err error, _ bool) error {
	for _, global := range ctx.App.Flags {
		if name := global.Names()[0]; err.Error() == "flag provided but not defined: -"+name {
			return fmt.Errorf("--%s stands before the command: eci-executor --%s ... %s", name, name, commandName(ctx))
		}
	}
	return fmt.Errorf("%w; see %s --help", err, ctx.Command.HelpName)
}

// noEmptyFlags refuses --runner "" and the like, which a script makes of a variable that
// is not set: without a word the command would do something else than was meant.
func noEmptyFlags(action cli.ActionFunc) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		for _, name := range ctx.FlagNames() {
			if value, ok := ctx.Value(name).(string); ok && value == "" && !strings.HasPrefix(name, "log-") { // an empty one undoes ECI_EXECUTOR_LOG_FILE
				return emptyFlag(name)
			}
		}
		return action(ctx)
	}
}

func emptyFlag(name string) error {
	flag := "--" + name
	if name == "config" {
		flag += " or ECI_EXECUTOR_CONFIG"
	}
	return fmt.Errorf("%s is empty: give it a value, or leave it out", flag)
}

// noArguments refuses arguments where a command takes none: a flag behind one is not
// read, so that without a word another file would be taken, or none.
func noArguments(ctx *cli.Context) error {
	if !ctx.Args().Present() {
		return nil
	}
	return fmt.Errorf("%s takes no argument, and was given %q", commandName(ctx), ctx.Args().First())
}

// commandName is such as "image-cache list".
func commandName(ctx *cli.Context) string {
	return strings.TrimPrefix(ctx.Command.HelpName, ctx.App.Name+" ")
}

// commands makes the commands; each has a file of its own.
type commands struct {
	process
	env stages.Env
}
