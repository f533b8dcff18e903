package remote

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Loan is the stream of an exec of ShareCommand, on which one run after the other goes
// from its attach to its end record. A run that has come to that gives it back;
// everything else makes what the exec reads or writes next doubtful, so that the loan
// is only closed, and the run goes on by an exec of its own, as after any loss.
type Loan interface {
	Stream
	ID() string // that of ShareCommand
	Return()    // in place of Close
}

// NewShareID draws the id of a shared exec.
func NewShareID() string { return randomHex(4) }

// ShareCommand is an exec in helper that serves one run after the other.
func ShareCommand(id string) []string { return []string{"sh", scriptPath, "share", id} }

// borrow asks a shared exec for the run; nil where there is none, and for a run that
// was begun: a newer exec must not meet it on one that other runs need.
func (r *run) borrow(ctx context.Context) (*connection, error) {
	if r.Borrow == nil || r.begun {
		return nil, nil
	}
	r.begun = true
	loan, err := r.Borrow(ctx)
	if loan == nil || err != nil {
		return nil, err
	}
	conn := newConnection(loan)
	conn.loan, conn.waited = loan, loan.ID()+"-"+randomHex(4)
	line := strings.Join(r.attach(conn.waited), " ") + "\n"
	conn.write([]byte(line + line))
	return conn, nil
}

// greet holds the first record of a shared exec to be its answer to this run: what an
// earlier run left on the way must not be taken for this one's.
func (c *connection) greet(rec record, run string) error {
	switch {
	case c.waited == "":
	case rec.kind == kindHello && rec.run == run && rec.exec == c.waited:
		c.waited = ""
	case rec.kind == kindFail:
		return fmt.Errorf("the shared exec gives up: %s", rec.text)
	default:
		return fmt.Errorf("%w: %s of another run on the shared exec", errProtocol, rec.kind)
	}
	return nil
}

// patience is how long the connection may be silent.
func (c *connection) patience(s Settings) time.Duration {
	if c.waited != "" {
		return s.Greeting
	}
	return s.Idle
}

// giveBack ends the use of a shared exec whose run is over.
func (c *connection) giveBack() {
	if c.loan != nil {
		c.closing.Do(func() {
			close(c.done)
			c.loan.Return()
		})
	}
}
