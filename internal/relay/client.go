package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Why a relay lends no exec; ErrGone is beside them, where nobody listens at its socket.
var (
	ErrWedged = errors.New("the relay does not answer")
	ErrNone   = errors.New("the relay has no exec")
	ErrBusy   = errors.New("another stage has the relay's exec") // or is opening one
)

// silence is how long a relay that has lent its exec may say nothing. By Settings.Alive it
// says something five times as often.
const silence = 5 * time.Second

const mostStderr = 4 << 10 // bytes of it that are kept

// Loan is an exec that is lent to this process. Read gives its stdout, Write feeds
// its stdin.
type Loan struct {
	conn *net.UnixConn
	in   *bufio.Reader
	id   string
	left int // bytes of the frame of stdout that is being read
	once sync.Once

	mu     sync.Mutex
	stderr []byte
}

// Take asks for the exec that the relay has. Its error is ErrGone, ErrNone, ErrBusy, or
// ErrWedged where the relay has not answered within limit. A relay that is still dialling
// says so, upon which dials is called and the limit begins anew.
func Take(socket string, limit time.Duration, dials func()) (*Loan, error) {
	return ask(socket, kindTake, nil, limit, dials)
}

// Open has the relay dial the address of an exec, known by id, and lend it.
func Open(ctx context.Context, socket, id, address string, limit time.Duration) (*Loan, error) {
	if deadline, bounded := ctx.Deadline(); bounded {
		limit = min(limit, time.Until(deadline))
	}
	return ask(socket, kindOpen, []byte(id+"\n"+address), limit, func() {})
}

// Hold has the relay dial the address of an exec, for the first stage that takes it. It does
// not wait for the dial.
func Hold(socket, id, address string, limit time.Duration) error {
	_, err := ask(socket, kindHold, []byte(id+"\n"+address), limit, func() {})
	return err
}

// Quit ends the relay of a socket, by force where it does not answer in time.
func Quit(socket string, limit time.Duration) {
	if _, err := os.Lstat(socket); err != nil {
		return
	}
	if _, err := ask(socket, kindQuit, nil, limit, func() {}); err != nil {
		Kill(socket)
	}
}

// ask puts one question to the relay. The loan is nil without an error where the answer is
// kindDone. dials is called when the relay says that it answers later.
func ask(socket string, k kind, words []byte, limit time.Duration, dials func()) (*Loan, error) {
	conn, err := connect(socket)
	if err != nil {
		return nil, err
	}
	l := newLoan(conn)
	conn.SetDeadline(time.Now().Add(limit)) //nolint:errcheck // sockets have deadlines
	err = writeFrame(conn, k, words)
	var answer []byte
	if err == nil {
		k, answer, err = readFrame(l.in, nil, mostWords)
	}
	if err == nil && k == kindAlive {
		dials()
		conn.SetDeadline(time.Now().Add(limit)) //nolint:errcheck // sockets have deadlines
		k, answer, err = readFrame(l.in, nil, mostWords)
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck // sockets have deadlines
	if err == nil && k == kindLent {
		l.id = string(answer)
		return l, nil
	}
	conn.Close() //nolint:errcheck // it has served
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, ErrWedged
	case err != nil:
		return nil, ErrGone // it ended before it had answered
	case k == kindDone:
		return nil, nil
	case k == kindBusy:
		return nil, ErrBusy
	case k == kindNone && len(answer) > 0:
		return nil, fmt.Errorf("%w: %s", ErrNone, answer)
	}
	return nil, ErrNone
}

func newLoan(conn *net.UnixConn) *Loan {
	return &Loan{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

// ID is the exec's id.
func (l *Loan) ID() string { return l.id }

// Read gives what came on stdout.
func (l *Loan) Read(p []byte) (int, error) {
	for l.left == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	l.conn.SetReadDeadline(time.Now().Add(silence)) //nolint:errcheck // sockets have deadlines
	n, err := l.in.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, relayError(err)
}

// next reads frames up to the header of the next one of stdout.
func (l *Loan) next() error {
	l.conn.SetReadDeadline(time.Now().Add(silence)) //nolint:errcheck // sockets have deadlines
	k, n, err := readHeader(l.in)
	switch {
	case err != nil:
		return relayError(err)
	case k == kindStdout:
		l.left = n
		return nil
	case n > 1<<20:
		return fmt.Errorf("a frame %q of %d bytes from the relay", k, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(l.in, text); err != nil {
		return relayError(err)
	}
	switch k {
	case kindAlive:
	case kindStderr:
		l.mu.Lock()
		l.stderr = append(l.stderr, text...)
		l.stderr = l.stderr[max(0, len(l.stderr)-mostStderr):]
		l.mu.Unlock()
	case kindEnded:
		return errors.New(string(text))
	default:
		return fmt.Errorf("a frame %q from the relay", k)
	}
	return nil
}

func relayError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrWedged
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the relay has ended")
	}
	return fmt.Errorf("reading from the relay: %w", err)
}

// Stderr is the last of what came on stderr.
func (l *Loan) Stderr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.stderr)
}

// Write sends p to the exec's stdin.
func (l *Loan) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		piece := p[written:min(len(p), written+mostStdin)]
		if err := writeFrame(l.conn, kindStdin, piece); err != nil {
			return written, fmt.Errorf("writing to the relay: %w", err)
		}
		written += len(piece)
	}
	return written, nil
}

// Return gives the exec back, for another stage.
func (l *Loan) Return() {
	l.once.Do(func() {
		writeFrame(l.conn, kindReturn, nil) //nolint:errcheck // a relay that is gone needs nothing back
		l.conn.Close()                      //nolint:errcheck // the exec is not ours any more
	})
}

// Close drops the exec.
func (l *Loan) Close() error {
	var err error
	l.once.Do(func() { err = l.conn.Close() })
	return err
}
