package remote

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Loan is a borrowed exec of ShareCommand, which serves one run after the other, each from
// its attach to its end record. A run that has seen its end record returns the loan. In any
// other case nobody knows what the exec will read or write next: the loan is closed, which
// ends the exec for all, and the run goes on by an exec of its own.
type Loan interface {
	Stream
	ID() string // that of ShareCommand
	Return()    // in place of Close
}

// NewShareID draws the id of a shared exec.
func NewShareID() string { return randomHex(4) }

// ShareCommand is an exec in helper that serves one run after the other.
func ShareCommand(id string) []string { return []string{"sh", scriptPath, "share", id} }

// borrow asks a shared exec to take the run; nil where there is none. It does so once for a
// run: later execs of a run kill its earlier one, which must not be the shared one.
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

// greet makes sure that the first record of a shared exec is its hello to this run, so that
// nothing left over from an earlier run is taken for this one's.
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

// patience is how long the connection may be silent: less for a shared exec that has yet to
// answer.
func (c *connection) patience(s Settings) time.Duration {
	if c.waited != "" {
		return s.Greeting
	}
	return s.Idle
}

// giveBack returns a shared exec whose run is over; nothing for an exec of the run's own.
func (c *connection) giveBack() {
	if c.loan != nil {
		c.closing.Do(func() {
			close(c.done)
			c.loan.Return()
		})
	}
}
