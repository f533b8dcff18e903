package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// documented are the limits of a command that pkg/eci keeps to.
func documented() CommandLimits { return CommandLimits{Words: 20, WordBytes: 256, Bytes: 2048} }

// sync is the other transport into the group.
func (g *group) sync(settings Settings) *Sync {
	return &Sync{Exec: g.syncExec, Turn: g.turn, Limits: documented(), Settings: settings}
}

// turn comes at once.
func (g *group) turn(context.Context, bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unused++
	return nil
}

// whole leaves every answer as it is.
func whole(_ int, _ []string, output string) (string, error) { return output, nil }

// syncExec runs a command without stdin, stderr in its output, for who took a turn. What
// nobody waits for any more runs on.
func (g *group) syncExec(ctx context.Context, role Role, command []string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	g.mu.Lock()
	g.unused--
	early := g.unused < 0
	g.mu.Unlock()
	if early {
		panic("an exec without its turn")
	}
	if g.refuses != nil && g.refuses(command) {
		return "", errors.New("connection reset by peer")
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer outR.Close()
	_, err = g.containers[role].Exec(sandbox.ExecConfig{Args: command, Stdout: outW, Stderr: outW})
	outW.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { outR.Close() })
	defer stop()
	output, err := io.ReadAll(outR)
	if err != nil {
		return "", err
	}
	g.mu.Lock()
	n, answered := g.execs, g.answered
	g.execs++
	if command[3] == "sweep" {
		g.stops++
	}
	g.mu.Unlock()
	return answered(n, slices.Clone(command), string(output))
}
