package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func (c commands) reap() *cli.Command {
	return &cli.Command{
		Name:  "reap",
		Usage: "delete the container groups and state files that jobs left behind",
		Description: "Looks at every container group of the region that carries the driver's tags and deletes those of this host's runners that are 5 minutes past " +
			"their tag expires-at or ended 10 minutes ago, by the server's clock, and those whose cleanup could not finish here. Each is read again before its delete. " +
			"Groups with missing or unreadable tags are only listed. Safe beside running jobs and on several hosts at once; packaging/systemd has a timer for it.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only tell what would be deleted"},
			&cli.DurationFlag{Name: "older-than", Usage: "of these, only groups that were created at least `D` ago, e.g. 2h"},
			&cli.StringFlag{Name: "runner", Usage: "the groups of runner `NAME` (their tag runner) instead of those of this host's runners"},
		},
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			if d := ctx.Duration("older-than"); d < 0 {
				return fmt.Errorf("--older-than %s: must not be negative", d)
			}
			cfg, err := config.Load(ctx.String("config"))
			if err != nil {
				return err
			}
			logger, err := c.logger(ctx)
			if err != nil {
				return err
			}
			counted := newMetrics(cfg)
			dial := dialer(observer{logger.WithField("stage", "reap"), counted})
			client, err := dial(cfg)
			if err != nil {
				return err
			}
			reaper := stages.Reaper{Config: cfg, API: client, Clock: stages.SystemClock{}, Stdout: c.stdout, Metrics: counted, Dial: dial}
			return reaper.Reap(ctx.Context, stages.ReapOptions{
				DryRun: ctx.Bool("dry-run"), OlderThan: ctx.Duration("older-than"), Runner: ctx.String("runner")})
		},
	}
}
