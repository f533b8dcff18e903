package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/pkg/stages"
)

const jobDoc = "JOB is the number of a GitLab job, the id of a container group or its name; ps lists them. "

func (c commands) logs() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "print the log of the stage that runs in a job's container group",
		ArgsUsage: "JOB",
		Description: jobDoc + "The log of the stage that runs, else of the last that ran, goes to stdout from its beginning, byte for byte; the group's containers and events go to stderr. " +
			"It disturbs neither the job nor its log.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Usage: "go on until the stage has ended, or with --container the container"},
			&cli.StringFlag{Name: "container", Usage: "instead what the first process of container `NAME` has written, a service for instance: the last 2000 lines, as ECI keeps them"},
		},
		Action: func(ctx *cli.Context) error {
			job, rest, err := jobArgument(ctx)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("logs takes one argument, JOB, and was given %q too", rest[0])
			}
			o, err := c.operator(ctx)
			if err != nil {
				return err
			}
			return o.Logs(ctx.Context, job, stages.LogOptions{Follow: ctx.Bool("follow"), Container: ctx.String("container")})
		},
	}
}

// jobArgument takes JOB from the arguments, and the flags that may stand behind it
// as well as before. The rest begins with -- where that was given.
func jobArgument(ctx *cli.Context) (job string, rest []string, err error) {
	if job = ctx.Args().First(); job == "" {
		return "", nil, errors.New(ctx.Command.Name + " takes the argument JOB: a job id, group id or group name; ps lists them")
	}
	behind := flag.NewFlagSet(ctx.Command.Name, flag.ContinueOnError)
	behind.SetOutput(io.Discard)
	for _, f := range ctx.Command.Flags {
		if err := f.Apply(behind); err != nil {
			return "", nil, err
		}
	}
	args := ctx.Args().Tail()
	if err := behind.Parse(args); err != nil {
		return "", nil, usageError(ctx, err, true)
	}
	behind.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = emptyFlag(f.Name)
		}
		err = errors.Join(err, ctx.Set(f.Name, f.Value.String()))
	})
	rest = behind.Args()
	if i := len(args) - len(rest) - 1; i >= 0 && args[i] == "--" {
		rest = args[i:]
	}
	return job, rest, err
}
