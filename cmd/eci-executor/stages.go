package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/internal/screen"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

const stageDoc = "A stage of the custom executor: https://docs.gitlab.com/runner/executors/custom/."

// outlastQuit lets a stage, and the relay between stages, end its work where the runner's
// service is stopped by SIGQUIT, on which a runner finishes its jobs: systemd sends the
// KillSignal to each process of a service, and a Go program dies of it.
func outlastQuit() { signal.Ignore(syscall.SIGQUIT) }

func jobFlag() cli.Flag {
	return &cli.StringFlag{Name: "job", Usage: "by hand: a saved job response `FILE` instead of the runner's JOB_RESPONSE_FILE"}
}

func (c commands) config() *cli.Command {
	return &cli.Command{
		Name:        "config",
		Usage:       "stage 1: tell the runner how jobs run here (JSON on stdout)",
		Description: stageDoc + " Makes no API call.",
		Before:      noArguments,
		Action: func(ctx *cli.Context) error {
			outlastQuit()
			cfg, err := config.Load(ctx.String("config"))
			if err != nil {
				return err
			}
			return stages.Configure(cfg, version(), c.stdout)
		},
	}
}

func (c commands) prepare() *cli.Command {
	return &cli.Command{
		Name:        "prepare",
		Usage:       "stage 2: create the job's container group and wait for it",
		Description: stageDoc,
		Flags: []cli.Flag{jobFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "only print the request that would be sent, secrets masked; no call is made, no state is kept"}},
		Before: noArguments,
		Action: func(ctx *cli.Context) error {
			if ctx.Bool("dry-run") {
				return c.dryRun(ctx)
			}
			return c.staged(ctx, "prepare", func(ctx context.Context, s *stages.Stage) error {
				out := screen.New(c.stdout, c.environ) // the job's log, or by hand a terminal
				out.Wait("waiting for the container group")
				defer out.Wait("")
				s.Stdout = out
				return s.Prepare(ctx)
			})
		},
	}
}

func (c commands) run() *cli.Command {
	return &cli.Command{
		Name:        "run",
		Usage:       "stage 3: run the script of one sub-stage in the container group",
		ArgsUsage:   "SCRIPT STAGE",
		Description: stageDoc + " The script's log goes to stdout as it is, its exit status to BUILD_EXIT_CODE_FILE.",
		Flags:       []cli.Flag{jobFlag()},
		Action: func(ctx *cli.Context) error {
			if err := c.env.ClearExitCode(); err != nil {
				return err
			}
			if ctx.NArg() != 2 {
				return fmt.Errorf("run takes two arguments, SCRIPT and STAGE, and was given %d", ctx.NArg())
			}
			script, subStage := ctx.Args().Get(0), ctx.Args().Get(1)
			return c.staged(ctx, subStage, func(ctx context.Context, s *stages.Stage) error { return s.Run(ctx, script, subStage) })
		},
	}
}

func (c commands) cleanup() *cli.Command {
	return &cli.Command{
		Name:        "cleanup",
		Usage:       "stage 4: delete the job's container group",
		Description: stageDoc + " Deletes every group of the attempt; nothing to delete is a success.",
		Flags:       []cli.Flag{jobFlag()},
		Before:      noArguments,
		Action: func(ctx *cli.Context) error {
			signal.Ignore(syscall.SIGPIPE) // its work is to be done whether or not the runner still reads its log
			return c.staged(ctx, "cleanup", func(ctx context.Context, s *stages.Stage) error { return s.Cleanup(ctx) })
		},
	}
}

// staged makes the stage, has do run it, and records how it ended. name is prepare, cleanup
// or the sub-stage of run.
func (c commands) staged(ctx *cli.Context, name string, do func(context.Context, *stages.Stage) error) error {
	outlastQuit()
	begun := time.Now()
	logger, err := c.logger(ctx)
	if err != nil {
		return err
	}
	s, err := c.stage(ctx, logger, name)
	if err != nil {
		logger.WithError(err).WithField("stage", name).Error("stage can't begin")
		return err
	}
	err = guarded(func() (*logrus.Logger, error) { return logger, nil }, func() error { return do(ctx.Context, s) })
	s.Ended(ctx.Context, name, time.Since(begun), err)
	return err
}

// dryRun prints what prepare would ask for. It counts nothing.
func (c commands) dryRun(ctx *cli.Context) error {
	logger, err := c.logger(ctx)
	if err != nil {
		return err
	}
	s, err := c.stage(ctx, logger, "prepare")
	if err != nil {
		return err
	}
	return s.DryRun()
}

// stage reads the driver's file and the job, each mistake told, and makes what
// prepare, run and cleanup work with. No API call is made here.
func (c commands) stage(ctx *cli.Context, logger *logrus.Logger, name string) (*stages.Stage, error) {
	env := c.env
	if file := ctx.String("job"); file != "" {
		env.JobResponseFile = file
	}
	cfg, configErr := config.Load(ctx.String("config"))
	job, jobErr := stages.ReadJob(env)
	if err := errors.Join(configErr, jobErr); err != nil {
		return nil, err
	}
	job.AddServices(cfg)
	counted := newMetrics(cfg)
	log := logger.WithFields(job.LogFields()).WithField("stage", name)
	s := &stages.Stage{
		Config: cfg, Job: job, Clock: stages.SystemClock{},
		Stdout: c.stdout, Stderr: c.stderr, Logger: log, Remote: remote.DefaultSettings(), Metrics: counted,
		Relay: "/proc/self/exe",
	}
	s.Dial = func(cfg *config.Config) (stages.API, error) {
		api, err := dialer(observer{log, counted})(cfg)
		return s.Paced(api), err
	}
	var err error
	if s.API, err = s.Dial(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// account is the driver's file and a client of its account, for commands that need no
// job. No API call is made here.
func (c commands) account(ctx *cli.Context) (*config.Config, *eci.Client, error) {
	cfg, err := config.Load(ctx.String("config"))
	if err != nil {
		return nil, nil, err
	}
	client, err := newClient(cfg)
	return cfg, client, err
}

func newClient(cfg *config.Config) (*eci.Client, error) { return newObservedClient(cfg, nil) }

// dialer makes clients for driver's files of one account.
func dialer(o eci.Observer) stages.Dialer {
	return func(cfg *config.Config) (stages.API, error) { return newObservedClient(cfg, o) }
}

func newObservedClient(cfg *config.Config, o eci.Observer) (*eci.Client, error) {
	return eci.New(eci.Options{
		Region:   cfg.Region,
		Endpoint: cfg.EndpointURL(),
		Credentials: eci.Credentials{
			AccessKeyID: cfg.Credentials.AccessKeyID, AccessKeySecret: string(cfg.Credentials.AccessKeySecret),
			SecurityToken: string(cfg.Credentials.SecurityToken), ECSRAMRole: cfg.Credentials.ECSRAMRole,
		},
		CallTimeout: cfg.Timeouts.Call,
		Observer:    o,
		UserAgent:   "eci-executor/" + version(),
	})
}
