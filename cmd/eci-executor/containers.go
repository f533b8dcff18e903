package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// withContainers runs f where containers can be run: as an unprivileged user that
// is a copy of this process in a namespace of its own. name is the command's. The context
// of f ends with the terminal (unless by nohup) and the reader of stdout too: a process
// that is killed by their signals leaves mounts and directories.
func withContainers(ctx context.Context, name string, f func(context.Context) error) error {
	ends := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	defer stop()
	if err := sandbox.Supported(); err != nil {
		return fmt.Errorf("%s runs containers, and this host does not let it: %w", name, err)
	}
	done, code, err := sandbox.EnterUserNamespace()
	switch {
	case err != nil:
		return err
	case done && code != 0:
		return fmt.Errorf("%s failed", name)
	case done:
		return nil
	}
	return f(ctx)
}
