package eci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Channel bytes that begin each message (eci-exec.md, 1).
const (
	channelStdin  = 0
	channelStdout = 1
	channelLast   = 4
)

const (
	mostFrame  = 32<<10 - 1 // bytes of stdin in one message, which makes 32 KiB with the channel byte
	mostStderr = 4 << 10    // bytes of the other channels that are kept
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

	pending []byte
	plain   bool // messages have no channel byte
	decided bool

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
		_, message, err := s.conn.Read(s.ctx)
		if err != nil {
			return 0, s.readError(err)
		}
		s.idle.Reset(s.limit)
		s.pending = s.payload(message)
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
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

// payload is what a message holds of stdout.
func (s *Stream) payload(message []byte) []byte {
	if len(message) == 0 {
		return nil
	}
	if !s.decided {
		s.decided, s.plain = true, message[0] > channelLast
	}
	switch {
	case s.plain:
		return message
	case message[0] == channelStdout:
		return message[1:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stderr = append(s.stderr, message[1:]...)
	s.stderr = s.stderr[max(0, len(s.stderr)-mostStderr):]
	return nil
}

// Stderr is the last of what came on the other channels, for messages.
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

// Close drops the connection at once.
func (s *Stream) Close() error {
	s.cancel()
	s.idle.Stop()
	return s.conn.CloseNow()
}
