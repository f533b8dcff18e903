package remote

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// connection reads and writes the stream of one exec, each in a goroutine: what comes is
// given out as records, and what is written never holds up the reading.
type connection struct {
	stream  Stream
	records chan record
	done    chan struct{} // closed by close
	closing sync.Once
	outbox  chan []byte
	heard   atomic.Int64 // when the last bytes came, or went, in Unix nanoseconds

	loan   Loan   // nil for an exec of the run's own
	waited string // id by which a shared exec must answer; "" once it has, and for an own exec

	mu  sync.Mutex
	err error
}

func newConnection(stream Stream) *connection {
	c := &connection{stream: stream, records: make(chan record), done: make(chan struct{}), outbox: make(chan []byte, 4)}
	c.heard.Store(time.Now().UnixNano())
	go c.read()
	go c.send()
	return c
}

func (c *connection) read() {
	defer close(c.records)
	d := newDecoder(&listener{c})
	for {
		rec, err := d.next()
		if err != nil {
			c.fail(err)
			return
		}
		select {
		case c.records <- rec:
		case <-c.done:
			return
		}
		if rec.kind != kindData {
			continue
		}
		// A payload is good until the next record is read, so that must wait until its
		// receiver is done with it, as it is when it takes another record.
		select {
		case c.records <- record{kind: kindBeat}:
		case <-c.done:
			return
		}
	}
}

// listener notes when bytes came, which counts for the idle limit: a large record may take
// longer than that over a slow connection.
type listener struct{ c *connection }

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.c.stream.Read(p)
	if n > 0 {
		l.c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// idle is how much is left of the limit for silence, in either direction; a lostError where
// nothing is.
func (c *connection) idle(limit time.Duration) (left time.Duration, err error) {
	if left = limit - time.Since(time.Unix(0, c.heard.Load())); left > 0 {
		return left, nil
	}
	return 0, &lostError{fmt.Errorf("nothing came for %s", limit)}
}

func (c *connection) send() {
	for {
		select {
		case <-c.done:
			return
		case b := <-c.outbox:
			// While a script goes in over a slow connection nothing comes back.
			for piece := range slices.Chunk(b, sentAtOnce) {
				if _, err := c.stream.Write(piece); err != nil {
					// The reader meets the same fault. A half-open socket, which takes what is
					// written and loses it, is found by the idle limit.
					c.fail(fmt.Errorf("writing to the exec: %w", err))
					return
				}
				c.heard.Store(time.Now().UnixNano())
			}
		}
	}
}

// sentAtOnce is how many bytes of a script take less than the idle limit on their way.
const sentAtOnce = 64 << 10

// write queues bytes for the exec's stdin.
func (c *connection) write(b []byte) {
	if len(b) == 0 {
		return
	}
	select {
	case c.outbox <- b:
	case <-c.done:
	}
}

// bye lets the exec end at once, instead of a minute later.
func (c *connection) bye() {
	c.stream.Write([]byte("bye\n")) //nolint:errcheck // the exec ends by itself where this is lost
}

func (c *connection) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// failure says why records ended.
func (c *connection) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the exec's connection ended before the script's end record")
	}
	if text := c.stream.Stderr(); text != "" {
		err = fmt.Errorf("%w (stderr: %s)", err, clip([]byte(text)))
	}
	return err
}

func (c *connection) close() {
	c.closing.Do(func() {
		close(c.done)
		c.stream.Close() // nothing is owed to a connection that is given up
	})
}
