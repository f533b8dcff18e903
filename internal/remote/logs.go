package remote

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

//go:embed logs.sh
var logsScript []byte

// readerLife is how long one process reads a log in helper; then another one goes on. So
// none lives much longer whose connection was lost without its noticing.
const readerLife = 5 * time.Minute

// newestRun stands for the id of the newest run.
const newestRun = "newest"

// fruitless is how many execs in a row may bring nothing before ReadLog gives up.
const fruitless = 5

// LogResult is what ReadLog has read.
type LogResult struct {
	Container Role   // whose PID 1 runs the script
	Length    int64  // bytes written to Output
	Status    string // the script's exit status, "running" or "lost"
}

// ReadLog writes the log of the group's newest run to Output, from its beginning,
// byte for byte: as far as it goes, or with follow until the run has ended. begun
// is called once, when it is known which container has the run. It disturbs neither
// the run nor the Session that started it.
func (s *Session) ReadLog(ctx context.Context, follow bool, begun func(Role)) (LogResult, error) {
	r := &reading{Session: s, how: "now", run: newestRun, sum: sha256.New(), begun: begun}
	if follow {
		r.how = "follow"
	}
	pause, failures := s.Settings.BackoffMin, 0
	for {
		over, err := r.attempt(ctx)
		var lost *lostError
		switch {
		case over:
			return r.LogResult, err
		case ctx.Err() != nil:
			return r.LogResult, context.Cause(ctx)
		case err == nil: // readerLife is over
			failures = 0
			continue
		case !errors.As(err, &lost):
			return r.LogResult, err
		}
		if failures++; r.heard {
			pause, failures = s.Settings.BackoffMin, 0
		}
		if gone := r.Diagnose(ctx); gone != nil {
			return r.LogResult, gone
		}
		if failures >= fruitless {
			return r.LogResult, err
		}
		r.Logger.WithError(err).WithFields(logrus.Fields{"run": r.run, "offset": r.Length}).Debug("reading the log: exec lost, opening another one")
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, s.Settings.BackoffMax)
	}
}

// reading is the state of one ReadLog. It survives its connections.
type reading struct {
	*Session
	LogResult
	how   string // follow or now
	run   string // newestRun until it is known
	sum   hash.Hash
	heard bool // the newest exec has brought something
	begun func(Role)
}

// attempt reads on by one exec. over means that the log is complete; with neither over nor an
// error, another exec is to go on.
func (r *reading) attempt(ctx context.Context) (over bool, err error) {
	r.heard = false
	stream, err := r.Open(ctx, Helper, []string{"sh", "-s", r.run, fmt.Sprint(r.Length), r.how,
		fmt.Sprint(int(readerLife.Seconds())), fmt.Sprint(r.Settings.Heartbeat.Milliseconds())})
	if err != nil {
		return false, &lostError{fmt.Errorf("opening an exec in helper: %w", err)}
	}
	conn := newConnection(stream)
	defer conn.close()
	conn.write(append(slices.Clip(logsScript), "tell \"$@\"; exit\n"...))
	idle := time.NewTimer(r.Settings.Idle)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-idle.C:
			left, err := conn.idle(r.Settings.Idle)
			if err != nil {
				return false, err
			}
			idle.Reset(left)
		case rec, open := <-conn.records:
			if !open {
				return false, &lostError{conn.failure()}
			}
			over, again, err := r.handle(rec)
			if over || again || err != nil {
				conn.bye()
				return over, err
			}
		}
	}
}

func (r *reading) handle(rec record) (over, again bool, err error) {
	switch rec.kind {
	case kindHello:
		if r.run == newestRun {
			r.run, r.Container = rec.run, rec.role
			r.begun(r.Container)
		}
	case kindBeat:
		r.heard = true
	case kindData:
		r.heard = true
		if rec.offset != r.Length {
			return false, false, &lostError{fmt.Errorf("%w: log at offset %d, expected %d", errProtocol, rec.offset, r.Length)}
		}
		if _, err := r.Output.Write(rec.payload); err != nil {
			return false, false, fmt.Errorf("writing the log: %w", err)
		}
		r.sum.Write(rec.payload)
		r.Length += int64(len(rec.payload))
	case kindFail:
		if rec.final {
			return false, false, errors.New(rec.text)
		}
		return false, true, nil
	case kindEnd:
		if rec.run != r.run || rec.length != r.Length {
			return false, false, &lostError{fmt.Errorf("%w: end of run %s at %d, have %d", errProtocol, rec.run, rec.length, r.Length)}
		}
		if got := hex.EncodeToString(r.sum.Sum(nil)); got != rec.digest {
			return false, false, fmt.Errorf("the log that arrived is not the log of the container group (sha256 %s, there %s)", got, rec.digest)
		}
		r.Status = rec.status
		return true, false, nil
	}
	return false, false, nil
}
