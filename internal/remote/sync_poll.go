package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// errHurried ends an exec or a wait for its turn when a stop is asked for meanwhile.
var errHurried = errors.New("a stop was asked for")

// attach sends the script, unless it was uploaded, and polls its log until it has ended.
func (x *syncStream) attach(ctx context.Context) error {
	pause, next := x.Settings.PollMin, x.poll
	if x.upload {
		next = x.send
	}
	for {
		seen, err := next(ctx)
		switch {
		case errors.Is(err, errHurried) && !x.upload:
			continue
		case err != nil || seen.last:
			return err
		}
		x.upload, next = false, x.poll
		pause = x.pause(seen, pause)
		if err := x.rest(ctx, pause); err != nil {
			return err
		}
	}
}

// pause is how long to wait after an answer: not at all where more log is there, shortly
// while there is some, and longer the longer there has been none.
func (x *syncStream) pause(seen seen, last time.Duration) time.Duration {
	switch {
	case seen.full:
		return 0
	case seen.data:
		return min(max(time.Since(x.opened)/10, x.Settings.PollMin), x.Settings.PollBusy)
	}
	return min(max(last*3/2, x.Settings.PollMin), x.Settings.PollMax)
}

// rest waits, unless a stop is asked for.
func (x *syncStream) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-x.stop:
	case <-time.After(d):
	}
	return nil
}

func (x *syncStream) hurried() bool {
	select {
	case <-x.stop:
		return true
	default:
		return false
	}
}

// poll asks by one exec for what is new, and for a stop where one is wanted. A stop that is
// wanted meanwhile interrupts it.
func (x *syncStream) poll(ctx context.Context) (seen, error) {
	what, l := "tail", x.learned()
	if x.hurried() {
		what = "stop"
		l.hold = min(l.hold, x.Settings.StopConfirm/3)
	}
	words := []string{"sh", scriptPath, "sync", "poll", x.run, randomHex(4), x.role, x.nonce,
		fmt.Sprint(x.offset), fmt.Sprint(l.most), fmt.Sprint(l.hold.Milliseconds()), what}
	return x.listen(ctx, words, l)
}

// listen makes one exec and passes the records of its answer on.
func (x *syncStream) listen(ctx context.Context, words []string, l learned) (seen, error) {
	urgent := x.hurried()
	if !urgent {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			select {
			case <-x.stop:
				cancel(errHurried)
			case <-ctx.Done():
			}
		}()
	}
	if err := x.turn(ctx, urgent); err != nil {
		return seen{}, causeOf(ctx, err)
	}
	began := time.Now()
	text, err := x.Exec(ctx, x.container, words)
	if err != nil {
		if ctx.Err() == nil {
			x.failed(l.hold, time.Since(began))
		}
		return seen{}, causeOf(ctx, err)
	}
	records, err := openEnvelope(text)
	if errors.Is(err, errCut) {
		x.cut(len(text))
	}
	if err != nil {
		return seen{}, err
	}
	x.answered()
	return x.pass(records, l.most)
}

func causeOf(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errHurried) {
		return errHurried
	}
	return err
}

// turn waits for the exec's turn. Meanwhile it gives the session heartbeats, since the wait
// is on this side and says nothing against the group.
func (x *syncStream) turn(ctx context.Context, urgent bool) error {
	done := make(chan error, 1)
	go func() { done <- x.Turn(ctx, urgent) }()
	beat := time.NewTicker(x.beat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-beat.C:
			if _, err := io.WriteString(x.out, "#beat\n"); err != nil {
				return err
			}
		}
	}
}

// seen is what an answer held.
type seen struct {
	data bool // some log
	full bool // as much log as an answer may carry
	last bool // a record after which no poll will tell more
}

// pass gives the records of an answer to the session, once it has looked through all of
// them: of a damaged answer none is passed on.
func (x *syncStream) pass(records []byte, most int) (seen, error) {
	var seen seen
	d, began, offset := newDecoder(bytes.NewReader(records)), x.offset, x.offset
	for first := true; ; first = false {
		rec, err := d.next()
		if errors.Is(err, io.EOF) && !first {
			break
		}
		if err != nil {
			return seen, err
		}
		switch rec.kind {
		case kindHello:
			if rec.run != x.run {
				return seen, fmt.Errorf("%w: an answer about run %s", errProtocol, rec.run)
			}
		case kindData:
			if rec.offset != offset {
				return seen, fmt.Errorf("%w: log at offset %d, expected %d", errProtocol, rec.offset, offset)
			}
			offset += rec.length
		case kindFail:
			seen.last = true
			x.learning(func(l *learned) { l.sent = 0 })
		case kindEnd, kindGone, kindStopped:
			seen.last = true
		}
	}
	if _, err := x.out.Write(records); err != nil {
		return seen, err
	}
	x.offset = offset
	seen.data, seen.full = offset > began, offset-began >= int64(most)
	if seen.full {
		x.filled()
	}
	return seen, nil
}

// sweep ends the processes of a run's script by execs into their container, TERM first and
// KILL after grace, and tells the session how many are left.
func (x *syncStream) sweep(ctx context.Context) error {
	const grace = 5 * time.Second // as eci-remote's
	x.learning(func(l *learned) {
		if l.swept.IsZero() {
			l.swept = time.Now()
		}
	})
	for signal := "TERM"; ; {
		if err := x.Turn(ctx, true); err != nil {
			return err
		}
		text, err := x.Exec(ctx, x.container, []string{"sh", scriptPath, "sync", "sweep", x.run, x.role, signal})
		if err != nil {
			return err
		}
		text = strings.TrimRight(text, "\r\n") + "\n" // as openEnvelope
		rec, err := newDecoder(strings.NewReader(text)).next()
		if err != nil {
			return unexpected(err)
		}
		since := time.Since(x.learned().swept)
		if rec.kind != kindLeft || rec.length == 0 || since > 3*grace {
			_, err = io.WriteString(x.out, text)
			return err
		}
		if since > grace {
			signal = "KILL"
		}
		if err := x.rest(ctx, x.Settings.PollMin); err != nil {
			return err
		}
	}
}
