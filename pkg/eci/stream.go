package eci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Channel bytes that begin each message (sources.md: exec-clients, kubelet).
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelResize = 4
	channelLast   = 4
)

const (
	mostFrame  = 32<<10 - 1 // bytes of stdin in one message; with the channel byte 32 KiB
	mostStderr = 4 << 10    // bytes that are kept of the channels that are not stdout
	writeLimit = 30 * time.Second
)

// Stream is the connection of one exec: Read gives stdout, Write feeds stdin.
// Its end says nothing about the process: io.EOF is only a closed socket.
//
// Which frames ECI sends is not documented, so reading is lenient: text frames
// count as binary, empty ones as none, and a stream whose first message begins
// with no channel byte is taken to have none at all.
type Stream struct {
	conn   *websocket.Conn
	cancel context.CancelFunc
	ctx    context.Context
	idle   *time.Timer
	limit  time.Duration

	message bytes.Buffer // the last one that came
	pending []byte       // what of it Read has not given out yet
	plain   bool         // messages have no channel byte
	decided bool         // plain is known, by the first message

	mu     sync.Mutex
	stderr []byte
}

func newStream(conn *websocket.Conn, ping, idle time.Duration) *Stream {
	conn.SetReadLimit(64 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Stream{conn: conn, ctx: ctx, cancel: cancel, limit: idle}
	// A half-open socket is found by the silence on it.
	s.idle = time.AfterFunc(idle, cancel)
	go s.keepAlive(ping)
	return s
}

// keepAlive pings; a pong counts as a sign of life. ECI closes a connection that
// is silent for about a minute.
func (s *Stream) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			ctx, cancel := context.WithTimeout(s.ctx, s.limit)
			if s.conn.Ping(ctx) == nil {
				s.idle.Reset(s.limit)
			}
			cancel()
		}
	}
}

func (s *Stream) Read(p []byte) (int, error) {
	for len(s.pending) == 0 {
		stderr, data, err := s.Next()
		if err != nil {
			return 0, err
		}
		if stderr {
			s.keep(data)
			continue
		}
		s.pending = data
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

// Next gives one message of stdout or stderr, for those who want them apart; where messages
// have no channel byte all are stdout. data is good until the next call. Next must not be
// mixed with Read.
func (s *Stream) Next() (stderr bool, data []byte, err error) {
	for {
		if err := s.receive(); err != nil {
			return false, nil, s.readError(err)
		}
		s.idle.Reset(s.limit)
		switch channel, data := s.split(s.message.Bytes()); channel {
		case channelStdout, channelStderr:
			return channel == channelStderr, data, nil
		default:
			s.keep(data)
		}
	}
}

// receive reads the next message into s.message.
func (s *Stream) receive() error {
	_, r, err := s.conn.Reader(s.ctx)
	if err != nil {
		return err
	}
	s.message.Reset()
	_, err = s.message.ReadFrom(r)
	return err
}

func (s *Stream) readError(err error) error {
	switch {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return io.EOF
	case s.ctx.Err() != nil:
		return fmt.Errorf("the exec's connection was closed here, or silent for %s", s.limit)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the exec's connection broke: %w", err)
}

// split is a message's channel and what it holds.
func (s *Stream) split(message []byte) (channel byte, data []byte) {
	if len(message) == 0 {
		return channelStdout, nil
	}
	if !s.decided {
		s.decided, s.plain = true, message[0] > channelLast
	}
	if s.plain {
		return channelStdout, message
	}
	return message[0], message[1:]
}

// keep remembers the end of what comes on other channels than stdout, for error messages.
func (s *Stream) keep(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stderr = append(s.stderr, data...)
	s.stderr = s.stderr[max(0, len(s.stderr)-mostStderr):]
}

// Stderr is the end of what came on other channels than stdout, for error messages.
func (s *Stream) Stderr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.stderr)
}

// Write sends p to the process's stdin. There is no way to end stdin but Close.
func (s *Stream) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		piece := p[written:min(len(p), written+mostFrame)]
		ctx, cancel := context.WithTimeout(s.ctx, writeLimit)
		err := s.conn.Write(ctx, websocket.MessageBinary, append([]byte{channelStdin}, piece...))
		cancel()
		if err != nil {
			return written, fmt.Errorf("writing to the exec: %w", err)
		}
		written += len(piece)
	}
	return written, nil
}

// Resize tells the size of a terminal as Kubernetes does, whose channels ECI's are.
// Whether ECI passes it on is not documented.
func (s *Stream) Resize(columns, rows int) error {
	ctx, cancel := context.WithTimeout(s.ctx, writeLimit)
	defer cancel()
	message := fmt.Appendf([]byte{channelResize}, `{"Width":%d,"Height":%d}`, columns, rows)
	if err := s.conn.Write(ctx, websocket.MessageBinary, message); err != nil {
		return fmt.Errorf("writing to the exec: %w", err)
	}
	return nil
}

// Close drops the connection at once.
func (s *Stream) Close() error {
	s.cancel()
	s.idle.Stop()
	return s.conn.CloseNow()
}
