package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Frames is the connection of an interactive exec, whose stdout and stderr are
// apart where the server keeps them so.
type Frames interface {
	Next() (stderr bool, data []byte, err error)
	Write(p []byte) (int, error)
	Resize(columns, rows int) error
	Close() error
	Stderr() string // what else came, for messages
}

// Shell runs one command in a container for a person. Whether ECI tells the exit status of
// an exec over its connection is not documented (sources.md: exec-clients), so a sh around
// the command prints it, between marks that are taken out of the output.
type Shell struct {
	// Open starts an exec and connects to it. With a terminal, resizing opens further ones
	// without.
	Open     func(ctx context.Context, command []string, tty bool) (Frames, error)
	Command  []string
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal *Terminal // nil: stdin and stdout are no terminal
}

// Terminal is the terminal of the person who runs the command.
type Terminal struct {
	Type    string // TERM
	Size    func() (columns, rows int, err error)
	Resized <-chan struct{}
	Raw     func() error // called once when the command is about to start
	Restore func()       // called when Run returns
}

// ErrLost is returned when the connection ended before the command.
var ErrLost = errors.New("the connection to the container was lost; what was started there may run on")

// The sh around a command with a terminal; each word is within ECI's 256 bytes. $0 is the
// nonce of the marks, $1 is TERM, $2 are arguments for stty, the rest is the command. The sh
// outlives Ctrl-C, and its mark of the start has its pid, which resizing needs.
const terminalWrapper = `trap : INT QUIT;export TERM="$1";stty $2 2>/dev/null;shift 2;` +
	`printf '\036%s up %s\036' $0 $$;(exec "$@");printf '\036%s %s\036' $0 $?;read -r n`

// The same without a terminal, in two words. An exec's stdin has no end but that of the
// connection, so it comes in pieces, each after a line with its length, and a length of 0
// ends it. At the end the sh waits for a line from the driver, because some servers cut off
// what is printed just before an exec exits.
const (
	plainWrapper1 = `shift 2;w=;dd bs=1 count=0 iflag=fullblock </dev/null 2>/dev/null||w=no;printf '\036%s up %s\036' $0 $w;` +
		`{ [ $w ]||while read -r k&&[ $k != 0 ];do dd bs=$k count=1 iflag=fullblock 2>/dev/null;done;}|`
	plainWrapper2 = `{ (exec "$@");s=$?;printf '\036%s %s\036' $0 $s;printf '\036%s %s\036' $0 $s >&2;};read -r k`
)

// resizer sets the size of the command's terminal from beside it, $1 rows and $2 columns,
// because nobody documents that ECI passes on a size that comes in a frame. $0 is the pid of
// the sh around the command.
const resizer = `exec 3<&0 </proc/$0/fd/0;[ "$(stty size)" = "$1 $2" ]&&echo same||{ stty rows $1 cols $2&&echo set;}||echo no;read -r n <&3`

const (
	mostPiece   = 16 << 10               // bytes of stdin in one piece
	secondMark  = 2 * time.Second        // how long the mark on stderr is awaited after that on stdout
	resizePause = 300 * time.Millisecond // changes of size within this time count as one
)

func (s *Shell) wrapped(nonce string) []string {
	if s.Terminal == nil {
		return append([]string{"sh", "-c", `eval "$1$2"`, nonce, plainWrapper1, plainWrapper2}, s.Command...)
	}
	size := "sane"
	if columns, rows, err := s.Terminal.Size(); err == nil && columns > 0 && rows > 0 {
		size = fmt.Sprintf("rows %d cols %d", rows, columns)
	}
	return append([]string{"sh", "-c", terminalWrapper, nonce, s.Terminal.Type, size}, s.Command...)
}

// shellRun is the state of one Shell.Run.
type shellRun struct {
	*Shell
	conn    Frames
	outputs map[bool]*marks // by whether it is stderr
	up      chan string     // what the mark of the start says
	started bool
	ended   int // marks of the end that came
	status  int
}

type frame struct {
	stderr bool
	data   []byte
	err    error
}

// Run returns the command's exit status. Note is what could not be done beside it,
// "" for nothing.
func (s *Shell) Run(ctx context.Context) (status int, note string, err error) {
	if s.Terminal != nil {
		defer s.Terminal.Restore()
	}
	nonce := randomHex(8)
	conn, err := s.Open(ctx, s.wrapped(nonce), s.Terminal != nil)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close() //nolint:errcheck // nothing is owed to a connection that has served
	r := &shellRun{Shell: s, conn: conn, up: make(chan string, 1),
		outputs: map[bool]*marks{false: newMarks(nonce), true: newMarks(nonce)}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan frame)
	go r.read(ctx, frames)
	failed := make(chan error, 1)
	resizing := make(chan string, 1)
	go r.feed(ctx, failed, resizing)
	err = r.show(ctx, frames, failed)
	if err == nil {
		r.conn.Write([]byte("0\nbye\n")) //nolint:errcheck // the command has ended; its sh ends with the connection too
	}
	select {
	case note = <-resizing:
	default:
	}
	return r.status, note, err
}

func (r *shellRun) read(ctx context.Context, frames chan<- frame) {
	for {
		var f frame
		f.stderr, f.data, f.err = r.conn.Next()
		f.data = bytes.Clone(f.data) // the next message comes into the same buffer
		select {
		case frames <- f:
		case <-ctx.Done():
			return
		}
		if f.err != nil {
			return
		}
	}
}

// show writes what comes until the command has ended.
func (r *shellRun) show(ctx context.Context, frames <-chan frame, failed <-chan error) error {
	wanted := 2 // stdout's and stderr's
	if r.Terminal != nil {
		wanted = 1
	}
	var second <-chan time.Time
	for r.ended < wanted {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; what was started in the container may run on", context.Cause(ctx))
		case <-second:
			return nil
		case err := <-failed:
			return err
		case f := <-frames:
			if f.err != nil {
				return r.lost(f.err)
			}
			if err := r.take(f); err != nil {
				return err
			}
		}
		if r.ended > 0 && second == nil {
			second = time.After(secondMark)
		}
	}
	return nil
}

func (r *shellRun) lost(err error) error {
	if r.ended > 0 {
		return nil
	}
	text := strings.TrimSpace(r.conn.Stderr())
	if text == "" && !errors.Is(err, io.EOF) {
		text = err.Error()
	}
	if text != "" {
		text = " (" + clip([]byte(text)) + ")"
	}
	if !r.started {
		return fmt.Errorf("nothing could be started in the container%s: does it have sh?", text)
	}
	return fmt.Errorf("%w%s", ErrLost, text)
}

// take writes a frame out, without the marks in it, and does what those say.
func (r *shellRun) take(f frame) error {
	text, found := r.outputs[f.stderr].split(f.data)
	for _, mark := range found {
		if word, rest, _ := strings.Cut(mark, " "); word == "up" {
			if r.Terminal != nil {
				if err := r.Terminal.Raw(); err != nil {
					return err
				}
			}
			r.started = true
			r.up <- rest
			continue
		}
		status, err := strconv.Atoi(mark)
		if err != nil {
			return fmt.Errorf("%w: exit status %q", errProtocol, mark)
		}
		r.status = status
		r.ended++
	}
	out := r.Stdout
	if f.stderr {
		out = r.Stderr
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("writing the command's output: %w", err)
	}
	return nil
}

// feed passes stdin on, once the command has started.
func (r *shellRun) feed(ctx context.Context, failed chan<- error, resizing chan<- string) {
	var said string
	select {
	case said = <-r.up:
	case <-ctx.Done():
		return
	}
	if r.Terminal != nil {
		go r.resize(ctx, said, resizing)
	}
	buffer := make([]byte, mostPiece)
	for {
		n, err := r.Stdin.Read(buffer)
		if n > 0 && r.Terminal == nil && said == "no" {
			failed <- errors.New("stdin can't be passed on: the container has no dd that knows iflag=fullblock")
			return
		}
		if n > 0 {
			if err := r.pass(buffer[:n]); err != nil {
				return // the reader meets the same fault
			}
		}
		if err != nil {
			if r.Terminal == nil {
				r.conn.Write([]byte("0\n")) //nolint:errcheck // the reader meets the same fault
			}
			return
		}
	}
}

func (r *shellRun) pass(data []byte) error {
	if r.Terminal == nil {
		data = append(fmt.Appendf(nil, "%d\n", len(data)), data...)
	}
	_, err := r.conn.Write(data)
	return err
}

// marks finds the marks that the sh around a command writes into its output.
type marks struct {
	head []byte // with which each begins
	held []byte // the end of what came, where it may be the beginning of a mark
}

const (
	markByte = 0x1e // ASCII's record separator
	mostMark = 64
)

func newMarks(nonce string) *marks {
	return &marks{head: []byte(string(rune(markByte)) + nonce + " ")}
}

// split returns the output in data, and in what was held back before, and the marks that
// stood in between.
func (m *marks) split(data []byte) (text []byte, found []string) {
	rest := slices.Concat(m.held, data)
	m.held = nil
	for {
		i := bytes.Index(rest, m.head)
		if i < 0 {
			break
		}
		end := bytes.IndexByte(rest[i+len(m.head):], markByte)
		if end < 0 && len(rest)-i < mostMark {
			m.held = bytes.Clone(rest[i:])
			return append(text, rest[:i]...), found
		}
		if end < 0 { // none of ours
			return append(text, rest...), found
		}
		text = append(text, rest[:i]...)
		found = append(found, string(rest[i+len(m.head):i+len(m.head)+end]))
		rest = rest[i+len(m.head)+end+1:]
	}
	keep := min(len(rest), len(m.head)-1)
	for keep > 0 && !bytes.HasPrefix(m.head, rest[len(rest)-keep:]) {
		keep--
	}
	m.held = bytes.Clone(rest[len(rest)-keep:])
	return append(text, rest[:len(rest)-keep]...), found
}
