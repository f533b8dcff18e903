package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lender lends one shared exec of a group to one run after the other, and opens
// another when it was not given back.
type lender struct {
	g      *group
	mu     sync.Mutex
	shared *sharedExec
	opened int
	// spoil, where it is set, wraps the n-th loan, from 0.
	spoil func(n int, l *lent) Loan
	loans int
	// greeting is how long a loan may say nothing to who asks for a run; 0 = a minute.
	greeting time.Duration
}

// sharedExec outlives its loans, of which one at a time reads what comes: who has given
// it back gets nothing any more, however late it reads.
type sharedExec struct {
	*execStream
	id     string
	mu     sync.Mutex
	change *sync.Cond // of what follows
	holder *lent
	unread []byte
	ended  bool
}

func (l *lender) lend(context.Context) (Loan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared == nil {
		id := NewShareID()
		stream, err := l.g.exec(Helper, ShareCommand(id))
		if err != nil {
			return nil, err
		}
		l.shared = &sharedExec{execStream: stream, id: id}
		l.shared.change = sync.NewCond(&l.shared.mu)
		go l.shared.pump()
		l.opened++
	}
	loan := &lent{sharedExec: l.shared, from: l}
	l.shared.give(loan)
	l.loans++
	if l.spoil != nil {
		return l.spoil(l.loans-1, loan), nil
	}
	return loan, nil
}

func (x *sharedExec) pump() {
	b := make([]byte, 64<<10)
	for {
		n, err := x.out.Read(b)
		x.mu.Lock()
		x.unread = append(x.unread, b[:n]...)
		x.ended = err != nil
		x.change.Broadcast()
		x.mu.Unlock()
		if err != nil {
			x.out.Close()
			return
		}
	}
}

func (x *sharedExec) give(to *lent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.holder = to
	x.change.Broadcast()
}

type lent struct {
	*sharedExec
	from *lender
	over sync.Once
}

func (l *lent) ID() string { return l.id }

func (l *lent) Return() { l.over.Do(func() { l.give(nil) }) }

func (l *lent) Close() error {
	l.over.Do(func() {
		l.give(nil)
		l.from.mu.Lock()
		l.from.shared = nil
		l.from.mu.Unlock()
		l.in.Close()
	})
	return nil
}

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.holder == l && len(l.unread) == 0 && !l.ended {
		l.change.Wait()
	}
	if l.holder != l || len(l.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.unread)
	l.unread = l.unread[n:]
	return n, nil
}

// run runs a script in the group by what the lender lends.
func (l *lender) run(t testing.TB, role Role, script string) (Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	session := l.g.session(t, &log)
	session.Borrow, session.Settings.Greeting = l.lend, cmp.Or(l.greeting, time.Minute)
	result, err := session.Run(ctx, Job{Role: role, Shell: "bash", Body: []byte(script)})
	return result, log.String(), err
}

// findsCat has a script in ROLE know the process that carries its output: the script may be
// so early that this has not written its pid yet.
const findsCat = "read -r seat _ </.eci/control/ROLE.seat; until read -r cat </.eci/control/ROLE.$seat.cat && [ $cat ]; do :; done; "

// lateLine is a script that leaves a child which writes once what carries the script's output
// is gone, as it is at the run's end. What it writes before is in the log.
func lateLine(script string) string {
	return findsCat + "{ while kill -0 $cat; do sleep 0.05; done 2>/dev/null; echo late; } & " + script
}

// One exec carries a job's scripts, whatever they do.
func TestSharedExecCarriesRunAfterRun(t *testing.T) {
	inShells(t, nil, func(t *testing.T, g *group) {
		g.idle = time.Minute
		l := &lender{g: g}
		large := strings.Repeat("a line of a long log\n", 100_000)
		for i, tt := range []struct {
			script, log string
			status      int
		}{
			{"echo hello", "hello\n", 0},
			{"exit 7", "", 7},
			{"yes a line of a long log | head -n 100000; exit 3", large, 3},
			{": " + strings.Repeat("stop bye ", 30_000) + "\necho read", "read\n", 0},
			{"sleep 300 & echo left; exit 2", "left\n", 2},
			{"printf '#end a 0 0\\n#ok 3\\n'", "#end a 0 0\n#ok 3\n", 0},
			{"cat; printf 'no newline'", "no newline", 0},
			{lateLine("echo early"), "early\n", 0},
			{"sleep 1; echo slow; kill -9 $$", "slow\n", 137},
			{"echo last", "last\n", 0},
		} {
			for _, role := range []Role{Helper, Build} {
				result, log, err := l.run(t, role, strings.ReplaceAll(tt.script, "ROLE", string(role)))
				if err != nil || result.Status != tt.status || log != tt.log || result.Execs != 0 {
					t.Fatalf("%d in %s: status %d, %d bytes of log, %d execs, error %v", i, role, result.Status, len(log), result.Execs, err)
				}
			}
		}
		if l.opened != 1 || g.execs != 1 {
			t.Errorf("%d shared execs of %d, want 1 of 1", l.opened, g.execs)
		}
	})
}

// damaged loses or doubles the n-th byte that is written to the exec.
type damaged struct {
	*lent
	at     int
	double bool
}

func (d *damaged) Write(p []byte) (int, error) {
	if at := d.at; at >= 0 && at < len(p) {
		d.at = -1
		rest := p[at+1:]
		if d.double {
			rest = p[at:]
		}
		_, err := d.execStream.Write(append(bytes.Clone(p[:at+1-b2i(!d.double)]), rest...))
		return len(p), err
	}
	if d.at >= 0 {
		d.at -= len(p)
	}
	return d.execStream.Write(p)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// said gives the reader something before what the exec writes.
type said struct {
	*lent
	before io.Reader
}

func (s *said) Read(p []byte) (int, error) {
	if n, err := s.before.Read(p); n > 0 {
		return n, err
	}
	return s.lent.Read(p)
}

// broken is a loan whose connection ends after so many bytes.
type broken struct {
	*lent
	left int
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("connection reset by peer")
	}
	n, err := b.lent.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// mute is a loan on which nothing is heard or answered.
type mute struct {
	*lent
	closed chan struct{}
}

func (m *mute) Write(p []byte) (int, error) { return len(p), nil }
func (m *mute) Read([]byte) (int, error)    { <-m.closed; return 0, io.EOF }
func (m *mute) Close() error                { close(m.closed); return m.lent.Close() }

// Whatever happens to a shared exec, each script runs once, its log and status are its
// own, and the run goes on by an exec of its own.
func TestSharedExecInDoubt(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute
	const script = "echo once >>/builds/times; seq 200; exit 5\n"
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintln(&want, i+1)
	}
	// The lines that ask for a run are about 95 bytes each, then comes the script, its
	// nonce, and at the end bye.
	line := len("attach 0123456789abcdef 01234567-01234567 build bash 44 0 0123456789abcdef 750\n")
	spoils := map[string]func(l *lent) Loan{
		"dead":            func(l *lent) Loan { return &mute{l, make(chan struct{})} },
		"cut at once":     func(l *lent) Loan { return &broken{l, 0} },
		"cut in a record": func(l *lent) Loan { return &broken{l, 80} },
		"cut at the end":  func(l *lent) Loan { return &broken{l, want.Len() + 100} },
		"another's log":   func(l *lent) Loan { return &said{l, strings.NewReader("#data 0 4\nold\n\n#ok 4\n")} },
		"another's hello": func(l *lent) Loan { return &said{l, strings.NewReader("#hello 0123456789abcdef 01234567\n")} },
		"another's end": func(l *lent) Loan {
			return &said{l, strings.NewReader("#end 0123456789abcdef 0 0 " + strings.Repeat("0", 64) + " none " + strings.Repeat("0", 64) + "\n")}
		},
	}
	for i, at := range []int{0, 3, 7, 10, 23, 30, 42, 46, 52, 53, 56, 60, line - 3, line - 1, line, line + 9, 2*line - 1, 2 * line, 2*line + 9, 2*line + 50} {
		double := i%2 == 1
		spoils[fmt.Sprintf("byte %d, doubled %t", at, double)] = func(l *lent) Loan { return &damaged{l, at, double} }
	}
	for name, spoil := range spoils {
		t.Run(name, func(t *testing.T) {
			g.outputOf(t, Helper, "rm -f /builds/times")
			l := &lender{g: g, spoil: func(n int, loan *lent) Loan {
				if n == 1 {
					return spoil(loan)
				}
				return loan
			}}
			for n := range 3 {
				if l.greeting = 0; n == 1 {
					l.greeting = time.Second
				}
				result, log, err := l.run(t, Build, script)
				if err != nil || result.Status != 5 || log != want.String() {
					t.Fatalf("run %d: status %d, %d bytes of log, error %v", n, result.Status, len(log), err)
				}
				if spoiled := n == 1; result.Execs != b2i(spoiled) {
					t.Errorf("run %d took %d execs of its own", n, result.Execs)
				}
			}
			if times := g.outputOf(t, Helper, "grep -c once /builds/times"); times != "3" {
				t.Errorf("3 scripts ran %s times", times)
			}
		})
	}
}

// A bye that does not arrive whole costs the next run its shared exec, not its truth.
func TestSharedExecWithoutItsBye(t *testing.T) {
	for _, shell := range []string{"/usr/bin/dash", "/usr/bin/bash"} {
		for _, bye := range []string{"", "by\n", "bye", "byee\n"} {
			t.Run(fmt.Sprintf("%s/%q", filepath.Base(shell), bye), func(t *testing.T) {
				t.Parallel()
				g := newGroup(t, shellIsh(t, shell))
				l := &lender{g: g, greeting: time.Second, spoil: func(n int, loan *lent) Loan {
					if n == 0 {
						return &curt{loan, bye}
					}
					return loan
				}}
				for n := range 3 {
					const script = "echo a\nstop\nbye\necho once >>/builds/times\nexit 3\n"
					if result, log, err := l.run(t, Build, script); err != nil || result.Status != 3 || !strings.HasPrefix(log, "a\n") || strings.Count(log, "not found") != 2 {
						t.Fatalf("run %d: status %d, log %q, error %v", n, result.Status, log, err)
					}
				}
				if times := g.outputOf(t, Helper, "grep -c once /builds/times"); times != "3" {
					t.Errorf("3 scripts ran %s times", times)
				}
			})
		}
	}
}

// curt says something else in place of bye.
type curt struct {
	*lent
	bye string
}

func (c *curt) Write(p []byte) (int, error) {
	if string(p) == "bye\n" {
		return c.execStream.Write([]byte(c.bye))
	}
	return c.execStream.Write(p)
}

// A stop reaches the script through a shared exec, which is not lent again.
func TestStopThroughASharedExec(t *testing.T) {
	g := newGroup(t, nil)
	l := &lender{g: g}
	log := marker{text: "ready", seen: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	session := g.session(t, &log)
	session.Borrow = l.lend
	session.Settings.Greeting, session.Settings.StopLimit, session.Settings.StopConfirm = time.Minute, time.Minute, time.Minute
	done := make(chan error, 1)
	go func() {
		_, err := session.Run(ctx, Job{Role: Build, Shell: "bash", Body: []byte("sleep 300 & echo ready; sleep 300")})
		done <- err
	}()
	log.await(t, done)
	cancel()
	if err := <-done; err != ErrStopped { //nolint:errorlint // joined with a doubt it is another error
		t.Errorf("error %v, want exactly ErrStopped", err)
	}
	if result, log, err := l.run(t, Build, "echo after; exit 4"); err != nil || result.Status != 4 || log != "after\n" || l.opened != 2 {
		t.Errorf("next script: status %d, log %q, %d shared execs, error %v", result.Status, log, l.opened, err)
	}
}
