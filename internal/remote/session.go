package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Stream is the connection of one exec: Read gives its stdout, Write feeds its
// stdin. Close never ends the process at the other side.
type Stream interface {
	io.ReadWriteCloser
	Stderr() string // the last of what came on stderr, for messages
}

// Job is one script to run.
type Job struct {
	Role  Role
	Shell string // bash or sh; bash scripts run under sh where there is no bash
	Body  []byte
}

// Result is how a script ended.
type Result struct {
	Status int   // the script's own exit status, 0 to 255
	OOM    bool  // with status 137: the kernel killed for memory
	Length int64 // bytes of log, all of them written out
	Execs  int   // how many execs it took
}

// Session runs scripts in one container group.
type Session struct {
	// Open starts an exec of command in the container and connects to it.
	Open func(ctx context.Context, container Role, command []string) (Stream, error)
	// Borrow, where it is set, is asked first, once for each run: see Loan.
	Borrow func(ctx context.Context) (Loan, error)
	// Diagnose is asked when something looks dead: nil while the group and both
	// of its containers run, otherwise the reason, which ends the run.
	Diagnose func(ctx context.Context) error
	Output   io.Writer // the log goes here, byte for byte
	Notices  io.Writer // lines for the job's author between the log's
	Settings Settings
	Logger   logrus.FieldLogger
	Lost     func() // is told of each connection that was lost, if it is not nil
}

// ErrStopped is returned when the context ended: the script's container then
// holds none of its processes any more.
var ErrStopped = errors.New("stopped on request")

// run is the state of one Session.Run. It outlives the connections of the run.
type run struct {
	*Session
	job      Job
	id       string    // names the run's files in the group
	nonce    string    // stands behind the script on its way in, and in the exit record
	offset   int64     // bytes of log written out
	kind     string    // of digests, once eci-remote has told it
	sum      digest    // of the log so far
	begun    bool      // a shared exec was asked for
	borrowed bool      // and is the one in use
	uploaded bool      // the script is known to be there
	doubted  bool      // an end record's digest disagreed once
	execs    int       // of the run's own
	lostAt   time.Time // since when there is no connection; zero while there is one
	noticed  bool      // the job's author was told of that
}

// Run uploads job's script, starts it once, and streams its log until it has
// ended. An error that is not ErrStopped means that the outcome is not known.
// When ctx ends, Run stops the script and returns only when nothing of it is
// left, or an error that says that this could not be made sure.
func (s *Session) Run(ctx context.Context, job Job) (Result, error) {
	if len(job.Body) == 0 {
		job.Body = []byte("\n") // does nothing either; in an attach, size 0 stands for a script that was uploaded before
	}
	r := &run{Session: s, job: job, id: randomHex(8), nonce: randomHex(8)}
	pause := s.Settings.BackoffMin
	for {
		before := r.offset
		result, err := r.attempt(ctx)
		if _, ok := errors.AsType[*lostError](err); !ok {
			return result, err
		}
		if r.Lost != nil {
			r.Lost()
		}
		if r.borrowed { // which says nothing about the group
			r.Logger.WithError(err).WithFields(logrus.Fields{"run": r.id, "offset": r.offset}).Info("shared exec lost, opening one of the stage's own")
			continue
		}
		r.Logger.WithError(err).WithFields(logrus.Fields{"run": r.id, "offset": r.offset}).Warn("exec lost, opening another one")
		since := time.Now()
		if err := r.diagnose(ctx); err != nil {
			return Result{}, err
		}
		if r.offset > before {
			pause = s.Settings.BackoffMin
		}
		r.notice(err)
		select {
		case <-ctx.Done():
			return Result{}, r.stop(nil)
		case <-time.After(pause - time.Since(since)): // the diagnosis may have waited for the group
		}
		pause = min(2*pause, s.Settings.BackoffMax)
	}
}

// lostError means that this connection is of no use any more, while another one may be.
type lostError struct{ cause error }

func (e *lostError) Error() string { return e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

func (r *run) diagnose(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil // the stop comes first
	}
	return r.Diagnose(ctx)
}

// notice tells the job's author, once for each loss, that the log has paused, and why.
func (r *run) notice(why error) {
	if r.lostAt.IsZero() {
		r.lostAt = time.Now()
	}
	if !r.noticed && time.Since(r.lostAt) > r.Settings.Notice {
		r.noticed = true
		fmt.Fprintf(r.Notices, "There is no connection to the container group (%s); what runs there runs on. Trying to reach it again.\n", //nolint:errcheck // the log itself tells a lost output
			clip([]byte(strings.Join(strings.Fields(why.Error()), " "))))
	}
}

// attach is the command that has an exec with that id take the script in, unless it was
// uploaded, and follow its log.
func (r *run) attach(exec string) []string {
	size := len(r.job.Body)
	if r.uploaded {
		size = 0
	}
	return []string{"attach", r.id, exec, string(r.job.Role), r.job.Shell,
		fmt.Sprint(size), fmt.Sprint(r.offset), r.nonce, fmt.Sprint(r.Settings.Heartbeat.Milliseconds())}
}

// connect opens the run's own exec, or takes one that is shared.
func (r *run) connect(ctx context.Context) (*connection, error) {
	conn, err := r.borrow(ctx)
	r.borrowed = conn != nil
	if conn == nil && err == nil {
		r.execs++
		var stream Stream
		if stream, err = r.Open(ctx, Helper, append([]string{"sh", scriptPath}, r.attach(randomHex(4))...)); err == nil {
			conn = newConnection(stream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening an exec in helper: %w", err)
	}
	if !r.uploaded {
		conn.write(append(bytes.Clone(r.job.Body), r.nonce+"\n"...))
	}
	return conn, nil
}

// attempt follows the run by one exec, to the loss of that exec (a lostError) or to the end
// of the run.
func (r *run) attempt(ctx context.Context) (Result, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return Result{}, r.stop(nil)
		}
		return Result{}, &lostError{err}
	}
	defer conn.close()
	return r.follow(ctx, conn)
}

// follow handles what comes over a connection, until that is lost (a lostError) or the run
// has ended.
func (r *run) follow(ctx context.Context, conn *connection) (Result, error) {
	idle := time.NewTimer(conn.patience(r.Settings))
	defer idle.Stop()
	diagnose := time.NewTicker(r.Settings.Diagnose)
	defer diagnose.Stop()
	for {
		select {
		case <-ctx.Done():
			return Result{}, r.stop(conn)
		case <-idle.C:
			left, err := conn.idle(conn.patience(r.Settings))
			if err != nil {
				return Result{}, err
			}
			idle.Reset(left)
		case <-diagnose.C:
			if err := r.diagnose(ctx); err != nil {
				return Result{}, err
			}
		case rec, open := <-conn.records:
			if !open {
				return Result{}, &lostError{conn.failure()}
			}
			if err := conn.greet(rec, r.id); err != nil {
				return Result{}, &lostError{err}
			}
			if result, over, err := r.handle(ctx, rec); over || err != nil {
				conn.bye()
				if err == nil {
					conn.giveBack()
				}
				return result, err
			}
		}
	}
}

// handle takes one record in; over means that the run has ended.
func (r *run) handle(ctx context.Context, rec record) (result Result, over bool, err error) {
	if rec.kind != kindHello && rec.kind != kindFail { // an exec that takes no script in gets as far
		r.lostAt, r.noticed = time.Time{}, false
	}
	switch rec.kind {
	case kindUp:
		r.uploaded = true
		if r.sum == nil {
			r.kind, r.sum = rec.sums, newDigest(rec.sums)
		}
	case kindData:
		return Result{}, false, r.emit(rec)
	case kindEnd:
		result, err = r.end(rec)
		return result, true, err
	case kindFail:
		if rec.final {
			return Result{}, true, errors.New(rec.text)
		}
		return Result{}, false, &lostError{errors.New(rec.text)}
	case kindAsk:
		return Result{}, false, r.diagnose(ctx)
	case kindGone:
		return Result{}, true, r.gone(ctx)
	}
	return Result{}, false, nil
}

// gone asks why build has died, for up to Settings.Death: the API learns of the death later
// than the control volume tells it.
func (r *run) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Settings.Death)
	defer cancel()
	for pause := r.Settings.Death / 40; ; pause *= 2 {
		if err := r.Diagnose(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the build container's first process has died, but ECI reports the container as running")
		case <-time.After(pause):
		}
	}
}

// emit writes a piece of log out, unless it does not begin where the last one ended.
func (r *run) emit(rec record) error {
	if rec.offset != r.offset || r.sum == nil {
		return &lostError{fmt.Errorf("%w: log at offset %d, expected %d", errProtocol, rec.offset, r.offset)}
	}
	if _, err := r.Output.Write(rec.payload); err != nil {
		return fmt.Errorf("writing the job's log: %w", err)
	}
	r.sum.Write(rec.payload) //nolint:errcheck // never fails
	r.offset += int64(len(rec.payload))
	return nil
}

// end believes an end record only when every byte is there and agrees.
func (r *run) end(rec record) (Result, error) {
	if rec.run != r.id || rec.length != r.offset || r.sum == nil {
		return Result{}, &lostError{fmt.Errorf("%w: end of run %s at %d, have %d", errProtocol, rec.run, rec.length, r.offset)}
	}
	if got := r.sum.digest(); got != rec.digest {
		// The exec may have read a log on which a background child wrote meanwhile
		// (eci-remote-attach.sh, digests); the next exec reads exactly length bytes.
		if !r.doubted {
			r.doubted = true
			return Result{}, &lostError{errors.New("the log's digest disagrees, asking once more")}
		}
		return Result{}, fmt.Errorf("the log that arrived is not the log that was written (%s %s, in the group %s): its outcome can't be trusted", r.kind, got, rec.digest)
	}
	script := newDigest(r.kind)
	script.Write(r.job.Body) //nolint:errcheck // never fails
	if sent := script.digest(); rec.script != sent {
		return Result{}, fmt.Errorf("the script that ran is not the script that was sent (%s %s, sent %s): its outcome can't be trusted", r.kind, rec.script, sent)
	}
	result := Result{OOM: rec.oom, Length: r.offset, Execs: r.execs}
	if rec.status == "lost" {
		return result, errors.New("the process that supervises the script, or the one that carries its output, was killed from inside the container: the script's outcome is not known")
	}
	n, err := number(rec.status)
	if err != nil || n > 255 {
		return result, fmt.Errorf("%w: exit status %q", errProtocol, rec.status)
	}
	result.Status = int(n)
	return result, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // crypto/rand.Read never returns an error (Go 1.24)
	return hex.EncodeToString(b)
}
