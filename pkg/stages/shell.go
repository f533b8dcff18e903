package stages

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// ShellOptions say what Shell starts, and where.
type ShellOptions struct {
	Container string   // "" = build
	Command   []string // none = a shell, bash where there is one
	Stdin     io.Reader
	Terminal  *remote.Terminal // nil: stdin and stdout are no terminal
}

// Shell runs a command in a container of a job's group beside the job, and returns
// its exit status. An error means that it is not known.
func (o *Operator) Shell(ctx context.Context, name string, options ShellOptions) (status int, err error) {
	g, err := o.find(ctx, name)
	if err != nil {
		return 0, err
	}
	where := cmp.Or(options.Container, buildContainer)
	if err := hasContainer(g, where); err != nil {
		return 0, err
	}
	if err := serves(g, where); err != nil {
		return 0, err
	}
	command := options.Command
	if len(command) == 0 {
		command = []string{"sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"}
	}
	shell := remote.Shell{Command: command, Stdin: options.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Terminal: options.Terminal,
		Open: func(ctx context.Context, command []string, tty bool) (remote.Frames, error) {
			stream, err := o.API.Exec(ctx, eci.ExecRequest{GroupID: g.ID, Container: where, Command: command, TTY: tty})
			if err != nil {
				return nil, withAdvice(err)
			}
			return stream, nil
		}}
	status, note, err := shell.Run(ctx)
	if note != "" {
		o.note("%s", note)
	}
	if err == nil {
		return status, nil
	}
	err = fmt.Errorf("container %s of container group %s: %w", where, g.ID, err)
	if gone := o.ended(context.WithoutCancel(ctx), g.ID); gone != nil {
		err = fmt.Errorf("%w\n%w", err, gone)
	}
	return 0, err
}
