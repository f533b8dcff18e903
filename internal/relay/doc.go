// Package relay is the process that keeps one exec of a job open between its stages,
// so that a stage's script starts without a call of the API or a dial before it: as
// ssh's ControlMaster does for its sessions.
//
// The process has no credentials and knows nothing of the records that pass through
// it. A stage gives it the address of an exec, which it dials and holds; it lends the
// exec to one stage at a time over a unix socket. What is true of a script is decided
// between the stage and the group, as with an exec of the stage's own. A stage that
// ends without giving the exec back leaves it in a state that nobody knows, so it is
// dropped then.
//
// The relay ends when cleanup asks for it, at a given time, when it had no exec for
// five minutes, and when its socket is gone or another relay's. Only its own user may
// speak to it.
//
// Both directions carry frames: a kind of one byte, the length in four, big-endian,
// and so many bytes.
package relay

import (
	"encoding/binary"
	"fmt"
	"io"
)

// kind is what a frame holds.
type kind byte

// What a stage asks, and what it gets to hear before an exec is lent.
const (
	kindTake kind = 't' // lend the exec
	kindOpen kind = 'o' // ID, newline, address: dial, and lend it
	kindHold kind = 'h' // dial, for who asks first; answered before that is done
	kindQuit kind = 'q' // end
	kindLent kind = 'l' // its ID
	kindDone kind = 'y' // answer of hold and quit
	kindNone kind = 'n' // why there is none
	kindBusy kind = 'b' // another stage has it
)

// What passes while an exec is lent.
const (
	kindStdin  kind = 'i'
	kindStdout kind = 'd'
	kindStderr kind = 'e'
	kindAlive  kind = 'a' // the relay is not wedged; before an answer: it dials
	kindEnded  kind = 'x' // the exec's connection is over, and why
	kindReturn kind = 'r' // the exec can be lent again
)

const (
	headerBytes = 5
	mostStdin   = 32 << 10 // bytes in a frame of stdin
	mostWords   = 16 << 10 // bytes in a frame of anything else but output
)

// appendHeader appends a frame's header to b.
func appendHeader(b []byte, k kind, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(k)), uint32(length))
}

func readHeader(r io.Reader) (kind, int, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, err
	}
	return kind(header[0]), int(binary.BigEndian.Uint32(header[1:])), nil
}

// readFrame reads a frame of at most so many bytes into buffer, which may be nil.
func readFrame(r io.Reader, buffer []byte, most int) (kind, []byte, error) {
	k, n, err := readHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if n > most {
		return 0, nil, fmt.Errorf("a frame %q of %d bytes", k, n)
	}
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	_, err = io.ReadFull(r, buffer[:n])
	return k, buffer[:n], err
}

// writeFrame is one write.
func writeFrame(w io.Writer, k kind, payload []byte) error {
	frame := append(appendHeader(make([]byte, 0, headerBytes+len(payload)), k, len(payload)), payload...)
	_, err := w.Write(frame)
	return err
}
