package screen_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/eci-executor/eci-executor/internal/screen"
)

// watched is a terminal and what it was sent.
type watched struct {
	terminal *os.File
	mu       sync.Mutex
	sent     bytes.Buffer
	more     *sync.Cond
}

func newTerminal(t *testing.T, columns uint16) *watched {
	t.Helper()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close(); master.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	w := &watched{terminal: terminal}
	w.more = sync.NewCond(&w.mu)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			w.mu.Lock()
			w.sent.Write(buffer[:n])
			w.more.Broadcast()
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// sees waits for a pattern in all that was sent.
func (w *watched) sees(t *testing.T, pattern string) string {
	t.Helper()
	re, until := regexp.MustCompile(pattern), time.Now().Add(time.Minute)
	late := time.AfterFunc(time.Minute, w.more.Broadcast)
	defer late.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !re.Match(w.sent.Bytes()) {
		if time.Now().After(until) {
			t.Fatalf("%s is not sent: %q", pattern, w.sent.String())
		}
		w.more.Wait()
	}
	return w.sent.String()
}

// At a terminal what is waited for stands in one line that is rewritten, below what is
// written, and is gone at the end.
func TestTerminal(t *testing.T) {
	w := newTerminal(t, 40)
	s := screen.New(w.terminal, nil)
	s.Wait("waiting for the container group to be placed somewhere")
	w.sees(t, `\r\x1b\[Kwaiting for the container group to be p`)
	fmt.Fprint(s, "first\n")
	w.sees(t, `\r\x1b\[Kfirst\r\n\r\x1b\[Kwaiting`)
	fmt.Fprint(s, "half a ")
	fmt.Fprint(s, "line\n")
	w.sees(t, `\r\x1b\[Khalf a line\r\n\r\x1b\[Kwaiting`)
	s.Wait("pulling")
	w.sees(t, `\r\x1b\[Kpulling, 0 s`)
	w.sees(t, `\r\x1b\[Kpulling, [1-9]\d* s`) // by itself
	s.Wait("")
	fmt.Fprint(s, "end\n")
	sent := w.sees(t, `\r\x1b\[Kend\r\n$`)
	for line := range strings.SplitSeq(sent, "\x1b[K") {
		if line, _, _ = strings.Cut(line, "\r"); len([]rune(line)) > 39 {
			t.Errorf("%q wraps", line)
		}
	}
}

// Anywhere else nothing comes but what is written.
func TestNoTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dumb := newTerminal(t, 80)
	var buffer bytes.Buffer
	for name, out := range map[string]io.Writer{"a buffer": &buffer, "a file": file} {
		s := screen.New(out, []string{"TERM=xterm"})
		s.Wait("waiting")
		fmt.Fprint(s, "a line, "+s.Paint(screen.Red, "plain")+"\n")
		s.Wait("")
		if name == "a buffer" && buffer.String() != "a line, plain\n" {
			t.Errorf("%s: %q", name, buffer.String())
		}
	}
	if data, err := os.ReadFile(file.Name()); err != nil || string(data) != "a line, plain\n" {
		t.Errorf("a file: %q, %v", data, err)
	}
	s := screen.New(dumb.terminal, []string{"TERM=dumb"})
	s.Wait("waiting")
	fmt.Fprint(s, "a line, "+s.Paint(screen.Red, "plain")+"\n")
	s.Wait("")
	if sent := dumb.sees(t, "\n"); sent != "a line, plain\r\n" {
		t.Errorf("a dumb terminal: %q", sent)
	}
}

func TestColours(t *testing.T) {
	w := newTerminal(t, 80)
	for environ, want := range map[string]string{
		"":             "\x1b[32mok\x1b[0m",
		"NO_COLOR=":    "\x1b[32mok\x1b[0m",
		"NO_COLOR=1":   "ok",
		"NO_COLOR=0":   "ok",
		"TERM=dumb":    "ok",
		"TERM=xterm":   "\x1b[32mok\x1b[0m",
		"NO_COLOR_X=1": "\x1b[32mok\x1b[0m",
	} {
		if got := screen.New(w.terminal, []string{environ}).Paint(screen.Green, "ok"); got != want {
			t.Errorf("%q: %q, want %q", environ, got, want)
		}
	}
}
