package remote

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxHeader    = 4096     // bytes of a record's first line
	maxPayload   = 4 << 20  // eci-remote sends 4 MiB at most in one record
	smallPayload = 64 << 10 // most records hold no more
)

// kind is the first word of a record.
type kind string

const (
	kindHello    kind = "hello"    // the exec runs
	kindUp       kind = "up"       // the script is there, whole, and asked to be started
	kindData     kind = "data"     // a piece of the log
	kindBeat     kind = "beat"     // nothing new, all is well
	kindGone     kind = "gone"     // PID 1 of build has died
	kindAsk      kind = "ask"      // it may have: it does not answer
	kindStopping kind = "stopping" // the stop was heard, and processes are left
	kindStopped  kind = "stopped"  // no process of the script is left
	kindFail     kind = "fail"     // eci-remote can't go on
	kindEnd      kind = "end"      // the script has ended and this is all of its log
	kindLeft     kind = "left"     // answer of a stop without the stream: processes left
)

// record is one message of eci-remote.
type record struct {
	kind    kind
	offset  int64  // data: of its first byte
	payload []byte // data; good until the next record is read
	run     string // hello, end
	exec    string // hello: the exec's id
	role    Role   // hello of a log's reader: whose PID 1 has the run
	status  string // end: a number, or "lost"
	length  int64  // end: of the whole log; left: processes
	sums    string // up: the kind of digest that the end record has
	digest  string // end: of the whole log
	script  string // end: of the script that ran
	oom     bool   // end: the kernel killed for memory
	final   bool   // fail: another exec would not do better
	text    string // fail
}

var errProtocol = errors.New("the exec sent what eci-remote does not send")

// decoder reads records. Anything that is not exactly a record is an error. A data record is
// given out only when its trailer stands where it must, so that bytes lost or doubled on the
// way never reach the log.
type decoder struct {
	r      *bufio.Reader
	buffer []byte // of payloads
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next record; io.EOF only between two records.
func (d *decoder) next() (record, error) {
	line, err := d.line()
	if err != nil {
		return record{}, err
	}
	rec, err := parseHeader(line)
	if err != nil || rec.kind != kindData {
		return rec, err
	}
	rec.payload = d.room(int(rec.length))
	if _, err := io.ReadFull(d.r, rec.payload); err != nil {
		return record{}, fmt.Errorf("log record cut short: %w", unexpected(err))
	}
	trailer := fmt.Sprintf("\n#ok %d\n", rec.offset+rec.length)
	got := make([]byte, len(trailer))
	if _, err := io.ReadFull(d.r, got); err != nil {
		return record{}, fmt.Errorf("log record cut short: %w", unexpected(err))
	}
	if string(got) != trailer {
		return record{}, fmt.Errorf("%w: no trailer behind %d bytes at offset %d", errProtocol, rec.length, rec.offset)
	}
	return rec, nil
}

// room is n bytes of the buffer, which is made as large as the largest record once a large
// one comes: pages of it that no record has filled take no memory.
func (d *decoder) room(n int) []byte {
	if len(d.buffer) < n {
		d.buffer = make([]byte, min(n, smallPayload))
		if n > smallPayload {
			d.buffer = make([]byte, maxPayload)
		}
	}
	return d.buffer[:n]
}

func (d *decoder) line() (string, error) {
	var line []byte
	for len(line) <= maxHeader {
		b, err := d.r.ReadByte()
		if err != nil {
			if len(line) > 0 {
				err = fmt.Errorf("record cut short at %q: %w", clip(line), unexpected(err))
			}
			return "", err
		}
		if b == '\n' {
			return string(line), nil
		}
		line = append(line, b)
		if line[0] != '#' {
			// Most likely an error message of a shell or of the server: show it.
			rest, _ := d.r.Peek(min(d.r.Buffered(), 200))
			return "", fmt.Errorf("%w: %q", errProtocol, clip(append(line, rest...)))
		}
	}
	return "", fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxHeader)
}

func parseHeader(line string) (record, error) {
	words := strings.Split(strings.TrimPrefix(line, "#"), " ")
	rec := record{kind: kind(words[0])}
	bad := fmt.Errorf("%w: %q", errProtocol, clip([]byte(line)))
	args := words[1:]
	want := map[kind]int{kindHello: 2, kindUp: 1, kindData: 2, kindBeat: 0, kindGone: 0, kindAsk: 0, kindStopping: 0, kindStopped: 0, kindEnd: 6, kindLeft: 1}
	if rec.kind == kindFail && len(args) >= 2 {
		rec.final, rec.text = args[0] == "final", strings.Join(args[1:], " ")
		return rec, nil
	}
	if n, known := want[rec.kind]; !known || n != len(args) {
		return record{}, bad
	}
	var err error
	switch rec.kind {
	case kindHello:
		rec.run, rec.exec = args[0], args[1]
		role, _, _ := strings.Cut(args[1], ".") // the exec's id in a hello of eci-remote
		rec.role = Role(role)
	case kindUp:
		rec.sums = args[0]
		if newDigest(rec.sums) == nil {
			return record{}, bad
		}
	case kindData:
		rec.offset, rec.length, err = twoNumbers(args[0], args[1])
		if rec.length == 0 || rec.length > maxPayload {
			return record{}, bad
		}
	case kindLeft:
		rec.length, err = number(args[0])
	case kindEnd:
		rec.run, rec.status, rec.digest, rec.oom, rec.script = args[0], args[1], args[3], args[4] == "oom", args[5]
		rec.length, err = number(args[2])
		if !isDigest(rec.digest) || !isDigest(rec.script) || args[4] != "oom" && args[4] != "none" {
			return record{}, bad
		}
	}
	if err != nil {
		return record{}, bad
	}
	return rec, nil
}

// isDigest tells whether s may be a digest of either kind.
func isDigest(s string) bool {
	if len(s) == 2*sha256.Size {
		return true
	}
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func number(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	return int64(n), err
}

func twoNumbers(a, b string) (int64, int64, error) {
	x, errX := number(a)
	y, errY := number(b)
	return x, y, errors.Join(errX, errY)
}

// unexpected makes an end in the middle of a record no plain io.EOF.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func clip(b []byte) string {
	const most = 200
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}
