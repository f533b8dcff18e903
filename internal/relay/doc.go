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
// Both directions carry frames: a kind of one byte, the length of the payload in four bytes,
// big-endian, and the payload.
package relay

import (
	"encoding/binary"
	"fmt"
	"io"
)

// kind is what a frame holds.
type kind byte

// The questions of a stage, one for each connection, and the relay's answers.
const (
	kindTake kind = 't' // lend the exec
	kindOpen kind = 'o' // ID, newline, address: dial that exec and lend it
	kindHold kind = 'h' // the same words: dial it, for the first stage that takes it; answered before the dial is done
	kindQuit kind = 'q' // end

	kindLent kind = 'l' // to take and open: here it is; its ID
	kindDone kind = 'y' // to hold and quit
	kindNone kind = 'n' // there is no exec; why, if that is known
	kindBusy kind = 'b' // another stage has the exec
)

// What passes while an exec is lent: from the stage stdin and return, the rest from the
// relay.
const (
	kindStdin  kind = 'i'
	kindStdout kind = 'd'
	kindStderr kind = 'e'
	kindAlive  kind = 'a' // the relay is well; before an answer: it is still dialling
	kindEnded  kind = 'x' // the exec's connection is over; why
	kindReturn kind = 'r' // the exec may be lent to another stage
)

const (
	headerBytes = 5
	mostStdin   = 32 << 10 // bytes in a frame of stdin
	mostWords   = 16 << 10 // bytes in a frame of anything else but output
)

// appendHeader appends to b the header of a frame with so many bytes behind it.
func appendHeader(b []byte, k kind, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(k)), uint32(length))
}

// readHeader returns a frame's kind and the number of bytes behind its header.
func readHeader(r io.Reader) (kind, int, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, err
	}
	return kind(header[0]), int(binary.BigEndian.Uint32(header[1:])), nil
}

// readFrame reads a frame of at most so many bytes. Its payload is put into buffer where
// that is large enough.
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

// writeFrame writes a frame by one Write.
func writeFrame(w io.Writer, k kind, payload []byte) error {
	frame := append(appendHeader(make([]byte, 0, headerBytes+len(payload)), k, len(payload)), payload...)
	_, err := w.Write(frame)
	return err
}
