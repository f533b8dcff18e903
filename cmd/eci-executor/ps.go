package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func (c commands) ps() *cli.Command {
	return &cli.Command{
		Name:  "ps",
		Usage: "list the container groups of the region that jobs run in",
		Description: "Shows every group of the region that carries the driver's tags, whichever runner and host made it, for as long as ECI lists it. " +
			"The stage is known of this host's jobs alone, the cost where ECI tells a price. Ages are by the server's clock.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "a JSON array instead of a table"}},
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			o, err := c.operator(ctx)
			if err != nil {
				return err
			}
			out := screen.New(c.stdout, c.environ)
			out.Wait("asking ECI")
			defer out.Wait("")
			o.Stdout = out
			return o.PS(ctx.Context, ctx.Bool("json"))
		},
	}
}

// operator is what ps, logs and shell work with. No API call is made here.
func (c commands) operator(ctx *cli.Context) (*stages.Operator, error) {
	logger, logErr := c.logger(ctx)
	cfg, client, err := c.account(ctx)
	if err := errors.Join(logErr, err); err != nil {
		return nil, err
	}
	return &stages.Operator{Config: cfg, API: client, Clock: stages.SystemClock{}, Stdout: c.stdout, Stderr: c.stderr,
		Logger: logger, Remote: remote.DefaultSettings()}, nil
}
