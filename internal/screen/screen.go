// Package screen shows a person at a terminal that something is waited for, in one line
// that is rewritten, and colours. Anywhere else, as in a job's log, the same writer passes
// on what is written, byte for byte, and nothing more.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Colour is one of a terminal's own, which it may show as its owner likes.
type Colour string

// The colours that are used.
const (
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
)

const (
	tick  = time.Second
	erase = "\r\x1b[K"
	width = 79 // of a terminal that does not tell its own; a line that is wrapped can't be taken back
)

// Screen is a writer with a line below what is written. Its methods may be called by
// several goroutines at once.
type Screen struct {
	out      io.Writer
	terminal bool
	colours  bool
	columns  func() int

	mu    sync.Mutex
	what  string    // is waited for, "" for nothing
	since time.Time // when that began
	shown bool      // the line is on the screen
	whole bool      // what was written last has ended with a newline
	stop  chan struct{}
}

// New is a screen on out, which is a terminal where it is a file that is one. Colours need
// one too, and no NO_COLOR in environ (https://no-color.org), nor a TERM that is dumb.
func New(out io.Writer, environ []string) *Screen {
	s := &Screen{out: out, whole: true, columns: func() int { return width }}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.terminal, s.colours = true, true
	s.columns = func() int {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 1 {
			return columns - 1
		}
		return width
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "NO_COLOR" && value != "":
			s.colours = false
		case name == "TERM" && value == "dumb":
			s.terminal, s.colours = false, false
		}
	}
	return s
}

// Terminal tells whether Wait shows anything.
func (s *Screen) Terminal() bool { return s.terminal }

// Paint is text in a colour, where colours are shown.
func (s *Screen) Paint(c Colour, text string) string {
	if !s.colours || c == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Write writes p above the line.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
	n, err := s.out.Write(p)
	if n > 0 {
		s.whole = p[n-1] == '\n'
	}
	s.show()
	return n, err
}

// Wait shows what is waited for, and for how long, until Wait is called again. "" is
// nothing.
func (s *Screen) Wait(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal || what == s.what {
		return
	}
	s.hide()
	s.what, s.since = what, time.Now()
	switch {
	case what == "" && s.stop != nil:
		close(s.stop)
		s.stop = nil
	case what != "" && s.stop == nil:
		s.stop = make(chan struct{})
		go s.run(s.stop)
	}
	s.show()
}

// run redraws the line each second, for the time on it.
func (s *Screen) run(stop chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			s.mu.Lock()
			if s.stop == stop {
				s.show()
			}
			s.mu.Unlock()
		}
	}
}

func (s *Screen) hide() {
	if s.shown {
		io.WriteString(s.out, erase) //nolint:errcheck // it is for the eye alone
		s.shown = false
	}
}

// show draws the line, unless the last line that was written is not complete.
func (s *Screen) show() {
	if s.what == "" || !s.whole {
		return
	}
	line := []rune(fmt.Sprintf("%s, %d s", s.what, int(time.Since(s.since).Seconds())))
	io.WriteString(s.out, erase+string(line[:min(len(line), s.columns())])) //nolint:errcheck // it is for the eye alone
	s.shown = true
}
