package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An exec goes from stage to stage as long as each gives it back.
func TestLend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, patient(), time.Now().Add(time.Hour))
	if _, err := Take(w.socket, long, func() {}); !errors.Is(err, ErrNone) {
		t.Errorf("without an exec: %v", err)
	}
	w.hold(t, "a")
	for i := range 5 {
		l := w.take(t)
		if l.ID() != "id of a" {
			t.Errorf("id %q", l.ID())
		}
		answers(t, l, fmt.Sprintf("line %d\n", i))
		answers(t, l, strings.Repeat("x", mostStdin-1)+"\n")
		if _, err := l.Write([]byte("stderr words\n")); err != nil {
			t.Error(err)
		}
		answers(t, l, "more\n")
		if l.Stderr() != "words\n" {
			t.Errorf("stderr %q", l.Stderr())
		}
		l.Return()
	}
	l, err := Open(t.Context(), w.socket, "id of b", "b", long)
	if err != nil || l.ID() != "id of b" {
		t.Fatalf("another exec: %v", err)
	}
	answers(t, l, "line\n")
	<-w.exec("a").closed
	l.Return()
	answers(t, w.take(t), "line\n")
}

// What makes an exec doubtful drops it.
func TestDrop(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		drop func(t *testing.T, w *world)
	}{
		{"a stage goes away with it", func(t *testing.T, w *world) {
			l := w.take(t)
			answers(t, l, "line\n")
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}},
		{"a stage says what it may not", func(t *testing.T, w *world) {
			l := w.take(t)
			if err := writeFrame(l.conn, kindTake, nil); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(l); err == nil {
				t.Error("the loan goes on")
			}
		}},
		{"it speaks while nobody has it", func(t *testing.T, w *world) { w.exec("a").out <- []byte("late") }},
		{"it ends while nobody has it", func(_ *testing.T, w *world) { w.exec("a").in <- []byte("end\n") }},
		{"it ends while a stage has it", func(t *testing.T, w *world) {
			l := w.take(t)
			if _, err := l.Write([]byte("end\n")); err != nil {
				t.Error(err)
			}
			if _, err := l.Read(make([]byte, 1)); err == nil || err.Error() != "the exec has ended" {
				t.Errorf("the stage hears %v", err)
			}
			l.Return()
		}},
		{"another is dialled in vain", func(t *testing.T, w *world) {
			if _, err := Open(t.Context(), w.socket, "b", "nowhere", long); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "can't be reached") {
				t.Errorf("error %v", err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, patient(), time.Now().Add(time.Hour))
			w.hold(t, "a")
			tt.drop(t, w)
			<-w.exec("a").closed
			if _, err := Take(w.socket, long, func() {}); !errors.Is(err, ErrNone) {
				t.Errorf("it is lent again: %v", err)
			}
		})
	}
}

// Who has an exec held does not wait for its dial; who asks for it does, and hears that
// it is not for nothing.
func TestHold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, address string
		want          error
	}{
		{"it is dialled", "slow", nil},
		{"it can't be", "slow to refuse", ErrNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			settings := DefaultSettings()
			settings.Wait = 0
			w := newWorld(t, settings, time.Now().Add(time.Hour))
			if err := Hold(w.socket, "id", tt.address, long); err != nil {
				t.Fatal(err)
			}
			heard := 0
			loan, err := Take(w.socket, long, func() {
				heard++
				close(w.answered)
			})
			if !errors.Is(err, tt.want) || heard != 1 {
				t.Errorf("error %v, want %v; heard %d times that it is dialled, want 1", err, tt.want, heard)
			}
			if err == nil {
				answers(t, loan, "line\n")
			}
		})
	}
}

// One stage at a time has the exec.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, DefaultSettings(), time.Now().Add(time.Hour))
	first, err := Open(t.Context(), w.socket, "id", "a", long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(w.socket, long, func() {}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second stage: %v", err)
	}
	answers(t, first, "line\n")
}

// The relay ends when nobody needs it any more.
func TestEnd(t *testing.T) {
	t.Parallel()
	hour := time.Now().Add(time.Hour)
	lonely := quick()
	lonely.Lonely = 10 * time.Millisecond
	tests := []struct {
		name     string
		settings Settings
		until    time.Time
		end      func(w *world) error
	}{
		{"it is asked to", patient(), hour, func(w *world) error { Quit(w.socket, long); return nil }},
		{"its time is over", patient(), time.Now().Add(-time.Second), func(*world) error { return nil }},
		{"it has no exec", lonely, hour, func(*world) error { return nil }},
		{"its socket is gone", quick(), hour, func(w *world) error { return os.Remove(w.socket) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.settings, tt.until)
			if err := tt.end(w); err != nil {
				t.Error(err)
			}
			w.awaitEnd(t)
			if _, err := Take(w.socket, long, func() {}); !errors.Is(err, ErrGone) {
				t.Errorf("who asks it hears %v", err)
			}
		})
	}
}

// A relay with an exec is not lonely, and one whose socket another took ends without it.
func TestGoOn(t *testing.T) {
	t.Parallel()
	settings := quick()
	settings.Lonely = time.Second
	w := newWorld(t, settings, time.Now().Add(time.Hour))
	w.hold(t, "a")
	l := w.take(t)
	for begun := time.Now(); time.Since(begun) < 2*settings.Lonely; {
		answers(t, l, "line\n")
		time.Sleep(settings.Watch) // longer than the relay may be lonely
	}
	another, _, err := listen(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
	w.ended <- nil
	if _, err := os.Stat(w.socket); err != nil {
		t.Errorf("it removed another's socket: %v", err)
	}
}

// A relay that does not answer costs the time that it is given, one that falls silent a
// bounded time.
func TestWedged(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "relay", "socket")
	l, _, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Take(socket, 10*time.Millisecond, func() {}); !errors.Is(err, ErrWedged) {
		t.Errorf("it does not answer: %v", err)
	}
	Kill(socket) // is not to kill this process, which listens
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left")
	}
	ours, theirs := pair(t)
	defer theirs.Close()
	loan := newLoan(ours)
	if _, err := loan.Read(make([]byte, 1)); !errors.Is(err, ErrWedged) {
		t.Errorf("it falls silent: %v", err)
	}
}

// A relay that was stopped before it listened is ended too.
func TestKill(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "relay", "socket")
	start := func(socket string) *exec.Cmd {
		// It has a relay's command line, and waits.
		cmd := &exec.Cmd{Path: "/usr/bin/tail", Args: []string{"eci-executor", Command, socket, "-f", os.DevNull}}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	ours, others := start(socket), start(socket+"2")
	Kill(socket)
	hung := time.AfterFunc(long, func() { ours.Process.Kill() }) //nolint:errcheck // the test tells
	ours.Wait()                                                  //nolint:errcheck // that it ends is the test
	if !hung.Stop() {
		t.Error("the socket's relay runs on")
	}
	if err := others.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another socket's relay: %v", err)
	}
	others.Process.Kill() //nolint:errcheck // it has served
	others.Wait()         //nolint:errcheck // it has served
}

// pair are the two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "pair", "socket")
	l, _, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = connect(socket); err == nil {
		b, err = l.AcceptUnix()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Others can't come near the socket: a folder that is not this user's alone is refused.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{dir, link} {
		if _, _, err := listen(filepath.Join(folder, "socket")); err == nil || !strings.Contains(err.Error(), "alone") {
			t.Errorf("%s: error %v", folder, err)
		}
	}
}

// FuzzServer: nothing that a stage may say stops the relay.
func FuzzServer(f *testing.F) {
	f.Add([]byte("t\x00\x00\x00\x00"))
	f.Add([]byte("o\x00\x00\x00\x03a\nb"))
	f.Add([]byte("i\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, words []byte) {
		if len(words) > 0 && words[0] == byte(kindQuit) {
			t.Skip()
		}
		w := newWorld(t, patient(), time.Now().Add(time.Hour))
		conn, err := connect(w.socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(words); err != nil {
			t.Error(err)
		}
		conn.CloseWrite() //nolint:errcheck // the relay may have closed it
		io.ReadAll(conn)  //nolint:errcheck // to the relay's end of it
		conn.Close()      //nolint:errcheck // it has served
		w.hold(t, "again")
		answers(t, w.take(t), "line\n")
	})
}
