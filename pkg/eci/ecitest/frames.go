package ecitest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// readSize is how much output is read at once, as in the kubelet.
const readSize = 32 << 10

// pump sends one stream until its end. What follows a lost connection goes where
// Switches.ExecOrphanOutput says.
func (k *socket) pump(channel byte, f *os.File) {
	buf := make([]byte, readSize)
	orphan := false
	for {
		n, err := f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !orphan {
				k.holds(channel, f, buf)
			}
			return
		}
		data := buf[:n]
		if k.fault.Merge && err == nil {
			data = k.merge(f, data)
		}
		if n > 0 && !orphan {
			orphan = k.output(channel, data) != nil
		}
		if err != nil {
			return // io.EOF; EIO from a terminal; closed
		}
		if !orphan {
			continue
		}
		switch k.s.opts.Switches.ExecOrphanOutput {
		case OrphanBlock:
			return // the pipe stays open until the command has ended
		case OrphanClose:
			_ = f.Close()
			return
		}
	}
}

// pipeSize is how much a pipe of Linux holds.
const pipeSize = 64 << 10

// holds sends what a pipe holds whose deadline is over: what the command wrote before its
// end is sent however late it is read. buf is of readSize.
func (k *socket) holds(channel byte, f *os.File, buf []byte) {
	conn, err := f.SyscallConn()
	for range pipeSize / readSize {
		n := 0
		if err == nil {
			err = errors.Join(conn.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) }), err)
		}
		if err != nil || n <= 0 || k.output(channel, buf[:n]) != nil {
			return
		}
	}
}

// merge adds what comes within 20 ms.
func (k *socket) merge(f *os.File, first []byte) []byte {
	all := append([]byte(nil), first...)
	if f.SetReadDeadline(time.Now().Add(20*time.Millisecond)) != nil {
		return all
	}
	more, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		k.s.opts.Log("ecitest: exec: %v", err)
	}
	_ = f.SetReadDeadline(time.Time{})
	return append(all, more...)
}

// output sends payload through the faults of stdout.
func (k *socket) output(channel byte, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if channel == channelStdout && k.fault.SwallowFinal > 0 {
		k.held = append(k.held, data...)
		n := max(0, int64(len(k.held))-k.fault.SwallowFinal)
		data = append([]byte(nil), k.held[:n]...)
		k.held = k.held[n:]
	}
	if channel == channelStdout && k.point != nil {
		data = k.point.seek(data, k.sent)
	}
	return k.frames(channel, data)
}

// frames sends payload in frames up to where it is dropped; k.mu is held.
func (k *socket) frames(channel byte, data []byte) error {
	if k.fault.MaxFrame > 0 && k.point == nil {
		defer k.tcp.together()()
	}
	for len(data) > 0 {
		frame := data
		if m := k.fault.MaxFrame; m > 0 {
			frame = data[:min(m, len(data))]
		}
		last := false
		if channel == channelStdout && k.point != nil {
			left := max(0, k.point.at-k.sent)
			last = int64(len(frame)) > left
			frame = frame[:min(int64(len(frame)), left)]
		}
		if last && k.fault.HalfOpen {
			// Dead before the client can answer to its last frame.
			k.dead.Store(true)
			if len(frame) > 0 {
				_ = k.transmit(channel, frame)
			}
			return errHalfOpen
		}
		if err := k.write(channel, frame); err != nil {
			return err
		}
		data = data[len(frame):]
		if channel == channelStdout {
			k.sent += int64(len(frame))
		}
		if last {
			k.drop()
			return errors.New("dropped")
		}
	}
	if k.brief {
		k.end()
		return errors.New("ended after the first output")
	}
	return nil
}

// flush sends what was kept back in the search for DropFrom.
func (k *socket) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.point != nil && k.ctx.Err() == nil {
		_ = k.frames(channelStdout, k.point.rest()) // a connection that is lost here is lost anyhow
	}
}

// dropPoint finds where in stdout Drop strikes.
type dropPoint struct {
	ExecFault
	at   int64  // bytes of stdout before it; out of reach until it is known
	skip int    // occurrences of DropFrom that are still to pass
	kept []byte // what may be the beginning of DropFrom
}

func newDropPoint(f ExecFault) *dropPoint {
	if f.DropFrom == "" {
		return &dropPoint{ExecFault: f, at: f.DropAfter}
	}
	return &dropPoint{ExecFault: f, at: math.MaxInt64, skip: f.DropFromSkip}
}

// seek looks for DropFrom in data, before which sent bytes went out, and gives what
// may go out next: a beginning of DropFrom is kept until it is clear what it is.
func (d *dropPoint) seek(data []byte, sent int64) []byte {
	if d.at < math.MaxInt64 {
		return data
	}
	data = append(d.rest(), data...)
	seen := 0
	for {
		i := bytes.Index(data[seen:], []byte(d.DropFrom))
		if i < 0 {
			break
		}
		seen += i
		if d.skip == 0 {
			d.at = sent + int64(seen) + d.DropAfter
			return data
		}
		d.skip--
		seen++
	}
	n := min(len(data)-seen, len(d.DropFrom)-1)
	for !strings.HasPrefix(d.DropFrom, string(data[len(data)-n:])) {
		n--
	}
	d.kept = slices.Clone(data[len(data)-n:])
	return data[:len(data)-n]
}

// rest returns what was kept, and keeps it no longer.
func (d *dropPoint) rest() []byte {
	kept := d.kept
	d.kept = nil
	return kept
}

var errHalfOpen = errors.New("half-open")

// send sends one message of our own.
func (k *socket) send(channel byte, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.message(channel, data)
}

// write sends one frame of output; k.mu is held.
func (k *socket) write(channel byte, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if k.fault.EmptyFrames {
		if err := k.message(channel, nil); err != nil {
			return err
		}
	}
	return k.message(channel, data)
}

func (k *socket) message(channel byte, data []byte) error {
	if k.dead.Load() {
		return errHalfOpen
	}
	return k.transmit(channel, data)
}

func (k *socket) transmit(channel byte, data []byte) error {
	kind := websocket.MessageBinary
	if k.fault.Text || k.s.opts.Switches.ExecTextFrames {
		kind = websocket.MessageText
	}
	if !k.fault.Unprefixed && !k.s.opts.Switches.ExecNoChannelByte {
		data = append([]byte{channel}, data...)
	}
	k.touch()
	return k.conn.Write(k.ctx, kind, data)
}

// stdinFaults carries out the faults of stdin.
type stdinFaults struct {
	ExecFault
	got int64 // bytes so far
}

// pass returns the part of b that comes through the faults, and whether the connection is cut
// after it.
func (f *stdinFaults) pass(b []byte) (through []byte, cut bool) {
	begin := f.got
	f.got += int64(len(b))
	// at is where in b a fault after n bytes begins, at most its end.
	at := func(n int64) int64 { return min(max(0, n-begin), int64(len(b))) }
	end := int64(len(b))
	if f.DropStdin {
		end = min(end, at(f.DropStdinAfter))
	}
	if f.CutStdin && f.got >= f.CutStdinAfter {
		end, cut = min(end, at(f.CutStdinAfter)), true
	}
	lost := f.LoseStdinAfter - begin
	if f.LoseStdin && lost >= 0 && lost < end {
		return slices.Delete(slices.Clone(b[:end]), int(lost), int(lost)+1), cut
	}
	return b[:end], cut
}
