package stages

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay"
	"github.com/eci-executor/eci-executor/internal/remote"
)

// With [exec] shared_connection an attempt has a relay (internal/relay): a process that
// keeps one exec open, which the stages borrow in turn. Nothing depends on it. A stage that
// gets no exec from the relay at once makes its own, and one that loses the relay's exec
// goes on by its own.
const (
	handOver  = 200 * time.Millisecond // that a stage waits for the relay's answer
	wedged    = 5 * time.Second        // after which a relay that has not answered is replaced
	relayDial = 5 * time.Second        // that the relay may take to connect to an exec
)

// relaySocket is the path of the relay's socket for the attempt of a record.
func (s store) relaySocket(record string) string {
	return filepath.Join(s.dir, relayDir, digest(filepath.Base(record))[:16])
}

// relayDir is the folder of state_dir that has the sockets.
const relayDir = "relay"

func (s *Stage) relaySocket() string { return s.store().relaySocket(s.store().recordPath(s.Job)) }

// shares tells whether the job's stages are to share an exec.
func (s *Stage) shares() bool { return s.Relay != "" && s.Config.Exec.SharedConnection }

// startRelay starts the attempt's relay. The caller has ended one that may have run before.
func (s *Stage) startRelay(record *Record) {
	until := record.Expires
	if until.IsZero() {
		until = s.Clock.Now().Add(s.deadline())
	}
	if err := relay.Start(s.Relay, s.relaySocket(), until); err != nil {
		s.Logger.WithError(err).Warn("the job's stages will not share a connection")
	}
}

// holdExec starts the relay and has it connect to an exec, for the job's first script to
// borrow. It does not wait for the connection; where that fails, the stage makes its own.
func (s *Stage) holdExec(ctx context.Context) {
	if !s.shares() {
		return
	}
	record, err := s.store().loadRecord(s.Job)
	if err != nil || record == nil || record.GroupID == "" {
		return
	}
	doctor := s.newDoctor(record)
	t := s.transport(record, doctor.execs.heard)
	if t.sync != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayDial)
	defer cancel()
	started := make(chan struct{})
	go func() {
		defer close(started)
		relay.Quit(s.relaySocket(), handOver) // the relay of an earlier prepare of this attempt
		s.startRelay(record)
	}()
	id, uri, err := t.shareable(ctx)
	<-started
	if err == nil {
		err = relay.Hold(s.relaySocket(), id, uri, relayDial)
	}
	if record.Starting != nil && doctor.execs.pending() {
		s.noteNoExecs()
	}
	if err != nil {
		s.Logger.WithError(err).Info("there is no shared connection yet")
	}
}

// shareable makes an exec that stages can share, for the relay to connect to at uri.
func (t *transport) shareable(ctx context.Context) (id, uri string, err error) {
	if err := t.stage.turn(ctx, actionExec, false); err != nil {
		return "", "", err
	}
	id = remote.NewShareID()
	uri, err = t.stage.API.ExecURI(ctx, execRequest(t.group, remote.Helper, remote.ShareCommand(id)))
	t.heard(err)
	return id, uri, err
}

// borrow gets the relay's exec; nil without an error where the stage is to make its own. A
// relay that has lost its exec gets another one, at the price of the stage's own.
func (t *transport) borrow(ctx context.Context) (remote.Loan, error) {
	s := t.stage
	if !s.shares() || t.sync != nil {
		return nil, nil
	}
	loan, err := t.take(ctx)
	if errors.Is(err, relay.ErrNone) {
		id, uri, callErr := t.shareable(ctx)
		if callErr != nil {
			return nil, callErr
		}
		loan, err = relay.Open(ctx, s.relaySocket(), id, uri, relayDial)
	}
	if err != nil {
		s.Logger.WithError(err).Info("the stage makes a connection of its own")
		return nil, nil
	}
	s.noteReached()
	return loan, nil
}

// answer is what the relay answers to a stage that asks for its exec.
type answer struct {
	loan *relay.Loan
	err  error
}

// failed tells whether there is no relay that answers.
func (a answer) failed() bool {
	return a.err != nil && !errors.Is(a.err, relay.ErrNone) && !errors.Is(a.err, relay.ErrBusy)
}

// take asks the relay for its exec. Where the relay is gone, or late with its answer,
// replaceRelay deals with it at the end of the script.
func (t *transport) take(ctx context.Context) (*relay.Loan, error) {
	socket, asked, dials := t.stage.relaySocket(), make(chan answer, 1), make(chan struct{}, 1)
	go func() {
		loan, err := relay.Take(socket, wedged, func() { dials <- struct{}{} })
		asked <- answer{loan, err}
	}()
	for limit := time.After(handOver); ; {
		select {
		case a := <-asked:
			t.gone = a.failed()
			return a.loan, a.err
		case <-dials: // the relay is connecting: worth waiting for, as our own connection would take longer
			limit = time.After(relayDial)
			continue
		case <-ctx.Done():
		case <-limit:
		}
		t.late = asked
		return nil, relay.ErrWedged
	}
}

// replaceRelay comes after a script. Where the relay was gone, or still has not answered, it
// starts another one for the job's next script.
func (t *transport) replaceRelay() {
	if t.late != nil {
		select {
		case a := <-t.late:
			if a.err == nil { // the answer came late, but the relay is well
				a.loan.Return()
			}
			t.gone = a.failed()
		default:
			t.gone = true
		}
	}
	if t.gone {
		relay.Kill(t.stage.relaySocket())
		t.stage.startRelay(t.record)
	}
	t.gone, t.late = false, nil
}

// scripts is a remote.Session that looks after the relay behind each script.
type scripts struct {
	*remote.Session
	transport *transport
}

// Run is remote.Session.Run.
func (x *scripts) Run(ctx context.Context, job remote.Job) (remote.Result, error) {
	defer x.transport.replaceRelay()
	return x.Session.Run(ctx, job)
}

// staleSockets are sockets of relays that are long over. Should one still run, it ends when
// its socket is removed.
func (s store) staleSockets(now time.Time) (paths []string) {
	dir := filepath.Join(s.dir, relayDir)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > stageLife {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}
