package ecitest

import (
	"net"
	"net/http"
	"sync"
)

// burstSize is how much of a burst is written at once.
const burstSize = 64 << 10

// burstListener accepts connections whose writes can be taken together.
type burstListener struct{ net.Listener }

func (l burstListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &burstConn{Conn: c}, nil
}

// burstConn can write many small messages by few system calls, which are most of what
// messages of a byte each cost. The messages stay as they are.
type burstConn struct {
	net.Conn
	mu    sync.Mutex
	burst bool
	kept  []byte
}

func (c *burstConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.burst {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	if len(c.kept) < burstSize {
		return len(p), nil
	}
	return len(p), c.write()
}

func (c *burstConn) write() error {
	_, err := c.Conn.Write(c.kept)
	c.kept = c.kept[:0]
	return err
}

// together has what is written until done go out in few pieces. A fault of the
// connection is met by who writes next.
func (c *burstConn) together() (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.burst = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.burst = false
		c.write() //nolint:errcheck // told above
	}
}

// connOf is the TCP connection below a request.
func connOf(r *http.Request) *burstConn {
	c, _ := r.Context().Value(connKey{}).(*burstConn)
	return c
}

// cut closes the TCP connection below a request, as a lost network does.
func cut(r *http.Request) {
	if c := connOf(r); c != nil {
		_ = c.Close()
	}
}
