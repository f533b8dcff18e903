package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// withContainers runs f where containers can be run: as an unprivileged user that
// is a copy of this process in a namespace of its own. name is the command's. The context
// of f ends with the terminal (unless by nohup) and the reader of stdout too: a process
// that is killed by their signals leaves mounts and directories.
func withContainers(ctx context.Context, name string, f func(context.Context) error) error {
	ctx, stop := whileRead(ctx)
	defer stop()
	if !signal.Ignored(syscall.SIGHUP) {
		hungUp, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
		ctx = hungUp
	}
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

// whileRead ends ctx when the reader of stdout is gone, as a write to it finds out. SIGPIPE
// tells no more of that than of a client of the local ECI that goes before its answer.
func whileRead(ctx context.Context) (reading context.Context, stop func()) {
	reading, unread := context.WithCancelCause(ctx)
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	go func() {
		for {
			select {
			case <-reading.Done():
				return
			case <-broken:
				if stdoutBroken() {
					unread(syscall.EPIPE)
				}
			}
		}
	}()
	return reading, func() {
		signal.Stop(broken)
		unread(nil)
	}
}

// stdoutBroken tells whether stdout is a pipe or socket without a reader: asked for
// nothing, poll(2) tells of errors alone.
func stdoutBroken() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(syscall.Stdout)}}, 0)
	return err == nil && n > 0
}
