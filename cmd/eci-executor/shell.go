package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// shellFailed is the exit status when that of the command is not known, as ssh's.
const shellFailed = 255

func (c commands) shell() *cli.Command {
	return &cli.Command{
		Name:      "shell",
		Usage:     "open a shell, or run a command, in a job's container group",
		ArgsUsage: "JOB [-- CMD...]",
		Description: jobDoc + "Runs in build, as its user, beside the job: bash, else sh, or CMD. With a terminal on stdin and stdout it is interactive; otherwise stdin, stdout and stderr are passed on as they are. " +
			"The exit status is the command's, or 255 where that is not known.\n\nECI takes 20 words of 256 bytes for a command, of which 6 are needed here, and lists commands in its audit log: pass secrets through stdin.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "container", Usage: "in container `NAME`: helper, or a service", DefaultText: "build"}},
		Action: func(ctx *cli.Context) error {
			status, err := c.runShell(ctx)
			if err != nil {
				status = shellFailed
			}
			if status == 0 {
				return nil
			}
			return &statusError{status, err}
		},
	}
}

// runShell returns the command's exit status.
func (c commands) runShell(ctx *cli.Context) (int, error) {
	job, rest, err := jobArgument(ctx)
	switch {
	case err != nil:
		return 0, err
	case len(rest) > 0 && rest[0] != "--":
		return 0, fmt.Errorf("shell takes a command behind --, and was given %q before it", rest[0])
	case len(rest) == 1:
		return 0, errors.New("shell takes a command behind --, and there is none")
	}
	o, err := c.operator(ctx)
	if err != nil {
		return 0, err
	}
	options := stages.ShellOptions{Container: ctx.String("container"), Stdin: c.stdin}
	if len(rest) > 0 {
		options.Command = rest[1:]
	}
	t, ok := c.terminal(ctx.Context)
	if ok {
		options.Terminal = &remote.Terminal{Type: t.kind, Size: t.size, Resized: t.resized, Raw: t.raw, Restore: t.close}
	}
	return o.Shell(ctx.Context, job, options)
}

// terminal is the person's own, where stdin and stdout are one.
type terminal struct {
	in, out int
	kind    string
	resized chan struct{}
	before  *term.State
	stop    context.CancelFunc
}

func (c commands) terminal(ctx context.Context) (*terminal, bool) {
	in, inIsFile := c.stdin.(*os.File)
	out, outIsFile := c.stdout.(*os.File)
	if !inIsFile || !outIsFile || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil, false
	}
	ctx, stop := context.WithCancel(ctx)
	t := &terminal{in: int(in.Fd()), out: int(out.Fd()), kind: "xterm", resized: make(chan struct{}, 1), stop: stop}
	for _, entry := range c.environ {
		if kind, ok := strings.CutPrefix(entry, "TERM="); ok && kind != "" {
			t.kind = kind
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case t.resized <- struct{}{}:
			default: // is due already
			}
		}
	}()
	return t, true
}

func (t *terminal) size() (columns, rows int, err error) { return term.GetSize(t.out) }

// raw makes every key, Ctrl-C too, the other side's; close undoes it.
func (t *terminal) raw() error {
	before, err := term.MakeRaw(t.in)
	if err != nil {
		return fmt.Errorf("making the terminal raw: %w", err)
	}
	t.before = before
	return nil
}

func (t *terminal) close() {
	t.stop()
	if t.before != nil {
		term.Restore(t.in, t.before) //nolint:errcheck // it is gone then
		t.before = nil
	}
}
