package main

import (
	"fmt"
	"runtime/debug"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// A panic of the driver must not print its stack into the job's log, where it would help
// nobody and might hold a secret.

// guard is an action whose panic is an error.
func (c commands) guard(action cli.ActionFunc) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		return guarded(func() (*logrus.Logger, error) { return c.logger(ctx) }, func() error { return action(ctx) })
	}
}

// guarded runs do. It makes an error of a panic, and writes the stack to the operator's log.
func guarded(log func() (*logrus.Logger, error), do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a mistake in the driver itself has ended it (%v): please report it, with the lines of --log-file", r)
			if logger, logErr := log(); logErr == nil {
				logger.WithField("stack", string(debug.Stack())).Error(err)
			}
		}
	}()
	return do()
}
