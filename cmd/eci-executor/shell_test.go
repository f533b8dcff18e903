package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// person sits at a real terminal in which the program runs.
type person struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd
	before *unix.Termios

	mu    sync.Mutex
	shown bytes.Buffer
	more  *sync.Cond
}

// sitDown starts the program at a terminal of 30 rows and 100 columns.
func (w *killWorld) sitDown(t *testing.T, args ...string) *person {
	t.Helper()
	p := &person{t: t}
	p.more = sync.NewCond(&p.mu)
	var err error
	if p.master, p.slave, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.slave.Close(); p.master.Close() })
	p.resize(30, 100)
	p.before = p.termios()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = &exec.Cmd{Path: program, Args: append([]string{"eci-executor"}, args...), Stdin: p.slave, Stdout: p.slave, Stderr: p.slave,
		Env:         append(os.Environ(), "TERM=vt220", "ECI_EXECUTOR_CONFIG="+filepath.Join(w.dir, "eci-executor.toml")),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() }) //nolint:errcheck // it has ended in most cases
	go p.look()
	return p
}

func (p *person) look() {
	buffer := make([]byte, 4096)
	for {
		n, err := p.master.Read(buffer)
		p.mu.Lock()
		p.shown.Write(buffer[:n])
		p.more.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := p.master.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until the screen shows the pattern, and forgets what stood before.
func (p *person) sees(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	over := false
	late := time.AfterFunc(time.Minute, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		over = true
		p.more.Broadcast()
	})
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; ; p.more.Wait() {
		if at := re.FindIndex(p.shown.Bytes()); at != nil {
			seen := string(p.shown.Next(at[1])[at[0]:])
			return seen
		}
		if over {
			p.t.Fatalf("%s is not shown:\n%s", pattern, p.shown.String())
		}
	}
}

// screen is what the person has not read yet.
func (p *person) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

func (p *person) resize(rows, columns uint16) {
	p.t.Helper()
	if err := pty.Setsize(p.master, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		p.t.Fatal(err)
	}
	if p.cmd != nil {
		p.cmd.Process.Signal(syscall.SIGWINCH) //nolint:errcheck // what the kernel does for a foreground process
	}
}

func (p *person) termios() *unix.Termios {
	p.t.Helper()
	var termios *unix.Termios
	conn, err := p.slave.SyscallConn()
	if err == nil {
		err = errors.Join(conn.Control(func(fd uintptr) { termios, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }), err)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return termios
}

// leaves waits for the program's end: with the status, and the terminal as it was.
func (p *person) leaves(status int) {
	p.t.Helper()
	late := time.AfterFunc(time.Minute, func() {
		p.t.Errorf("it does not end, and shows\n%s", p.screen())
		p.cmd.Process.Kill() //nolint:errcheck // it may just have ended
	})
	defer late.Stop()
	err := p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Errorf("exit status %d (%v), want %d", got, err, status)
	}
	if d := cmp.Diff(p.before, p.termios()); d != "" {
		p.t.Errorf("the terminal is not restored (-before +after):\n%s", d)
	}
}

func newShellWorld(t *testing.T, switches ecitest.Switches) *killWorld {
	t.Helper()
	needSandbox(t)
	w := &killWorld{dir: t.TempDir()}
	var err error
	if w.server, err = startECIAs(w.dir, switches); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, w.server) })
	w.configure(t, "eci-executor.toml", w.server.URL())
	job := w.job(t, 8)
	if out, err := w.run(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := w.run(t, "cleanup", "--job", job); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return w
}

// A terminal is there at both ends: keys, Ctrl-C, size and exit status, whichever
// way ECI passes sizes and ends on.
func TestShellAtATerminal(t *testing.T) {
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			w := newShellWorld(t, switches)
			p := w.sitDown(t, "shell", "8")
			p.types("PS1='$((1+1))> '; echo $TERM-$(stty size)-$(hostname | wc -l)\r")
			p.sees(`vt220-30 100-1\r\n[^\n]*2> `)               // bash sets modes before its prompt
			p.types("sh -c 'echo go\"\"ing; exec sleep 300'\r") // it has the foreground by then
			p.sees(`going\r\n`)
			p.types("\x03")
			p.sees(`2> `)
			p.types("echo sta''tus $?\r")
			p.sees(`status 130`)
			p.resize(40, 120)
			p.types("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.05; done; echo si''zed\r")
			p.sees("sized")
			p.resize(50, 130)
			p.types("until [ \"$(stty size)\" = '50 130' ]; do sleep 0.05; done; echo re''sized\r")
			p.sees("resized")
			p.types("exit 7\r")
			p.leaves(7)
		})
	}
}

// However a session ends, the person's terminal is theirs again and the reason is
// told.
func TestShellGivesTheTerminalBack(t *testing.T) {
	tests := []struct {
		name   string
		ends   func(t *testing.T, w *killWorld, p *person)
		status int
		told   string
	}{
		{"the command ends", func(_ *testing.T, _ *killWorld, p *person) { p.types("exit 0\r") }, 0, ""},
		{"the group is deleted", func(t *testing.T, w *killWorld, _ *person) {
			if err := w.server.DeleteGroup(w.server.Live()[0]); err != nil {
				t.Error(err)
			}
		}, 255, `the connection to the container was lost; what was started there may run on`},
		{"SIGTERM", func(t *testing.T, _ *killWorld, p *person) {
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}, 255, `terminated signal received; what was started in the container may run on`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newShellWorld(t, ecitest.Switches{})
			p := w.sitDown(t, "shell", "8")
			p.types("echo up''$((1+1))\r")
			p.sees("up2\r\n")
			if cmp.Equal(p.before, p.termios()) {
				t.Error("the terminal is not raw: the test shows nothing")
			}
			tt.ends(t, w, p)
			if tt.told != "" {
				p.sees(regexp.QuoteMeta(tt.told))
			}
			p.leaves(tt.status)
		})
	}
}

// One command has the terminal too, and Ctrl-C ends it alone.
func TestShellCommandAtATerminal(t *testing.T) {
	w := newShellWorld(t, ecitest.Switches{})
	p := w.sitDown(t, "shell", "8", "--", "sh", "-c", "test -t 0 && test -t 1 && echo tty; sleep 300")
	p.sees("tty\r\n")
	p.types("\x03")
	p.leaves(130)
	if out := p.screen(); strings.Contains(out, "ERROR") {
		t.Errorf("shown: %s", out)
	}
	out, err := w.run(t, "shell", "8", "--", "sh", "-c", "test -t 0 || echo none")
	if err != nil || out != "none\n" {
		t.Errorf("%v, %q", err, fmt.Sprint(out))
	}
}
