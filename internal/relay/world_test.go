package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const long = time.Minute // for what comes at once

// echo is an exec that answers each line with itself, until it is told to end.
type echo struct {
	in, out chan []byte
	closed  chan struct{}
	once    sync.Once
}

func newEcho() *echo {
	return &echo{in: make(chan []byte), out: make(chan []byte), closed: make(chan struct{})}
}

func (e *echo) Next() (bool, []byte, error) {
	select {
	case b := <-e.in:
		if text, isErr := bytes.CutPrefix(b, []byte("stderr ")); isErr {
			return true, text, nil
		}
		if string(b) == "end\n" {
			return false, nil, errors.New("the exec has ended")
		}
		return false, b, nil
	case b := <-e.out:
		return false, b, nil
	case <-e.closed:
		return false, nil, errors.New("closed")
	}
}

func (e *echo) Write(p []byte) (int, error) {
	select {
	case e.in <- bytes.Clone(p):
		return len(p), nil
	case <-e.closed:
		return 0, errors.New("closed")
	}
}

func (e *echo) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// world is a relay in this process, whose execs are echoes by their address.
type world struct {
	socket string
	ended  chan error

	dialled  chan struct{} // has a word once what is "slow" is being dialled
	answered chan struct{} // closed when that answers

	mu    sync.Mutex
	execs map[string]*echo
}

// patient has who asks wait for whoever is giving the exec back: the relay may hear late
// of that.
func patient() Settings {
	s := DefaultSettings()
	s.Wait = long
	return s
}

func quick() Settings {
	s := patient()
	s.Watch, s.Alive = 5*time.Millisecond, 5*time.Millisecond
	return s
}

func newWorld(t *testing.T, settings Settings, until time.Time) *world {
	t.Helper()
	// Longer than a socket's address may be.
	w := &world{socket: filepath.Join(t.TempDir(), strings.Repeat("long", 30), "socket"), execs: map[string]*echo{}, ended: make(chan error, 1), dialled: make(chan struct{}, 1), answered: make(chan struct{})}
	l, inode, err := listen(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	server := &Server{Dial: w.dial, Settings: settings, Until: until, Socket: w.socket, Inode: inode}
	go func() { w.ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) dial(_ context.Context, address string) (Exec, error) {
	if address == "nowhere" {
		return nil, errors.New("can't be reached")
	}
	if strings.HasPrefix(address, "slow") {
		select {
		case w.dialled <- struct{}{}:
		default:
		}
		<-w.answered
	}
	if address == "slow to refuse" {
		return nil, errors.New("can't be reached")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.execs[address] = newEcho()
	return w.execs[address], nil
}

func (w *world) exec(address string) *echo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.execs[address]
}

func (w *world) hold(t *testing.T, address string) {
	t.Helper()
	if err := Hold(w.socket, "id of "+address, address, long); err != nil {
		t.Fatal(err)
	}
	w.take(t).Return() // what waits for the dial
}

func (w *world) take(t *testing.T) *Loan {
	t.Helper()
	l, err := Take(w.socket, long, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answers wants a line back over a loan.
func answers(t *testing.T, l *Loan, line string) {
	t.Helper()
	if _, err := l.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(l, got); err != nil || string(got) != line {
		t.Fatalf("%q came, %v, want %q", got, err, line)
	}
}

func (w *world) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err
	case <-time.After(long):
		t.Fatal("the relay goes on")
	}
	if _, err := os.Stat(w.socket); err == nil {
		t.Error("its socket is left")
	}
}
