package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/eci-executor/eci-executor/internal/relay"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// relay is what a stage starts beside itself, with [exec] shared_connection.
func (c commands) relay() *cli.Command {
	return &cli.Command{
		Name:   relay.Command,
		Hidden: true,
		Usage:  "keep the exec that a job's stages share; started by the driver itself",
		Action: func(ctx *cli.Context) error {
			outlastQuit()
			return relay.Main(ctx.Context, ctx.Args().Slice(), func(ctx context.Context, address string) (relay.Exec, error) {
				stream, err := eci.Dial(ctx, address)
				if err != nil {
					return nil, err // no Exec that holds a nil
				}
				return stream, nil
			})
		},
	}
}
