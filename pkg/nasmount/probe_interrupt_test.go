package nasmount

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A silent server holds a probe no longer than its context, and where it fell silent
// after CREATE, no longer than the time to settle.
func TestProbeOfASilentServer(t *testing.T) {
	silent := scripted(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	p := Prober{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		defer close(started)
		return silent(ctx, network, address)
	}}
	go func() { <-started; cancel() }()
	if _, err := p.Probe(ctx, Target{Server: "nas", Path: "/"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	deadline, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if _, err := (Prober{Dial: silent}).Probe(deadline, Target{Server: "nas", Path: "/"}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v, want unreachable by the deadline", err)
	}
}

func TestProbeInterruptedWhereTheServerHangs(t *testing.T) {
	for _, op := range []string{"create", "write", "remove"} {
		t.Run(op, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			hang := make(chan struct{})
			t.Cleanup(func() { close(hang) })
			var hangs atomic.Bool
			server := startNFS(t, exports{"/": {dir: t.TempDir(), before: func(is string) error {
				if is != op {
					return nil
				}
				hangs.Store(true)
				cancel()
				<-hang
				return os.ErrClosed // nothing more is done in the directory, which may be gone
			}}})
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if hangs.Load() { // for other connections too
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return server.dial(ctx, network, address)
			}
			over := make(chan time.Time)
			close(over) // the time to settle is over at once, or nearly so
			_, err := Prober{Dial: dial, After: func(time.Duration) <-chan time.Time { return over }}.Probe(ctx, Target{Server: "nas", Path: "/"})
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "/.eci-executor-probe-") {
				t.Errorf("error %v, want canceled, with the file that may be left", err)
			}
		})
	}
}

// counting wraps the connections of a network; on is told the number of each call,
// counted over all connections from 1, before it is sent.
type counting struct {
	net.Conn
	calls *atomic.Int64
	on    func(n int64, c net.Conn)
}

func (c counting) Write(p []byte) (int, error) {
	n := c.calls.Add(1)
	written, err := c.Conn.Write(p)
	c.on(n, c.Conn)
	return written, err
}

func counted(server *nfsServer, on func(n int64, c net.Conn)) (dial func(context.Context, string, string) (net.Conn, error), calls *atomic.Int64) {
	calls = new(atomic.Int64)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := server.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return counting{c, calls, on}, nil
	}, calls
}

// noWait is a clock on which the wait for a late CREATE is over at once, and the
// time to settle never.
func noWait(d time.Duration) <-chan time.Time {
	if d == settleTime {
		return nil
	}
	now := make(chan time.Time)
	close(now)
	return now
}

// Interrupted in any call, or cut off before the answer to any call, a probe leaves
// nothing behind.
func TestProbeLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	server := startNFS(t, exports{"/": {dir: dir}})
	target := Target{Server: "nas", Path: "/"}
	dial, calls := counted(server, func(int64, net.Conn) {})
	if _, err := (Prober{Dial: dial}).Probe(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	all := calls.Load()
	if all < 10 {
		t.Fatalf("only %d calls", all)
	}
	for at := int64(1); at <= all; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		dial, _ := counted(server, func(n int64, _ net.Conn) {
			if n == at {
				cancel()
			}
		})
		_, err := Prober{Dial: dial}.Probe(ctx, target)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted in call %d: %v", at, err)
		}
		nothingIn(t, dir)

		dial, _ = counted(server, func(n int64, c net.Conn) {
			if n == at {
				c.Read(make([]byte, 1)) // the server has done what the call asks
				c.Close()
			}
		})
		_, err = Prober{Dial: dial, After: noWait}.Probe(t.Context(), target)
		if err != nil && !errors.Is(err, ErrUnreachable) {
			t.Errorf("cut off in call %d: %v", at, err)
		}
		nothingIn(t, dir)
	}
}
