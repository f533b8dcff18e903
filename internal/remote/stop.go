package remote

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stop ends all processes of the run's script: asked for over conn, if there is one, and
// where nothing confirms that by an exec into the script's own container. It returns
// ErrStopped, wrapped with the reason where processes may be left. The run's context has
// ended by now, so stop has a limit of its own.
func (r *run) stop(conn *connection) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.Settings.StopLimit)
	defer cancel()
	if conn != nil && conn.waited == "" && r.stopThroughStream(ctx, conn) {
		return ErrStopped
	}
	pause := r.Settings.BackoffMin
	for {
		left, err := r.stopByExec(ctx)
		if err == nil && left == 0 {
			return ErrStopped
		}
		if err == nil {
			return fmt.Errorf("%w, but %d processes in %s could not be ended", ErrStopped, left, r.job.Role)
		}
		if gone := r.Diagnose(ctx); gone != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", ErrStopped, gone) // a dead container holds no process
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, but processes may be left in %s: %w", ErrStopped, r.job.Role, err)
		case <-time.After(pause):
		}
	}
}

// stopThroughStream asks over the connection, and goes on writing the log while the processes
// end. False where nobody has confirmed that none is left.
func (r *run) stopThroughStream(ctx context.Context, conn *connection) bool {
	conn.write([]byte("stop\n"))
	confirm := time.NewTimer(r.Settings.StopConfirm)
	defer confirm.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-confirm.C:
			return false
		case rec, open := <-conn.records:
			if !open {
				return false
			}
			switch rec.kind {
			case kindStopping:
				confirm.Reset(r.Settings.StopConfirm)
			case kindStopped:
				conn.bye()
				return true
			case kindData:
				if r.emit(rec) != nil {
					return false
				}
			case kindEnd:
				// The script has ended by itself just now, but its children may live on.
				return false
			case kindGone:
				return true
			}
		}
	}
}

// stopByExec ends the processes by an exec into their container, and returns how many are left.
func (r *run) stopByExec(ctx context.Context) (int64, error) {
	stream, err := r.Open(ctx, r.job.Role, []string{"sh", scriptPath, "stop", r.id, string(r.job.Role)})
	if err != nil {
		return 0, fmt.Errorf("opening an exec in %s: %w", r.job.Role, err)
	}
	conn := newConnection(stream)
	defer conn.close()
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case rec, open := <-conn.records:
			if !open {
				return 0, conn.failure()
			}
			if rec.kind == kindLeft {
				return rec.length, nil
			}
			return 0, errors.New("the stop was answered by another record: " + string(rec.kind))
		}
	}
}

// Urgent tells whether the command of an exec is a stop, which must not wait in the queue of
// this host's calls.
func Urgent(command []string) bool { return len(command) > 2 && command[2] == "stop" }
