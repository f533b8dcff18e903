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

// With [exec] shared_connection an attempt has a relay, which holds one exec that its
// stages take in turn. Nothing depends on it: a stage that gets no exec from it at
// once makes its own, and one that loses it goes on by its own.
const (
	handOver  = 200 * time.Millisecond // for a relay to answer; after it the stage does without
	wedged    = 5 * time.Second        // for one whose answer the stage waits for no more
	relayDial = 5 * time.Second        // for a relay to connect to an exec
)

// relaySocket is that of an attempt, by the path of its record.
func (s store) relaySocket(record string) string {
	return filepath.Join(s.dir, relayDir, digest(filepath.Base(record))[:16])
}

// relayDir is the folder of state_dir that has the sockets.
const relayDir = "relay"

func (s *Stage) relaySocket() string { return s.store().relaySocket(s.store().recordPath(s.Job)) }

// shares tells whether the job's stages are to share an exec.
func (s *Stage) shares() bool { return s.Relay != "" && s.Config.Exec.SharedConnection }

// startRelay starts one for the attempt. One that may run is to be ended before.
func (s *Stage) startRelay(record *Record) {
	until := record.Expires
	if until.IsZero() {
		until = s.Clock.Now().Add(s.deadline())
	}
	if err := relay.Start(s.Relay, s.relaySocket(), until); err != nil {
		s.Logger.WithError(err).Warn("the job's stages will not share a connection")
	}
}

// holdExec has an exec made for the job's first script, and does not wait for its dial.
// Where that fails, the stages find out.
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
		relay.Quit(s.relaySocket(), handOver) // that of an earlier prepare of the attempt
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

// shareable makes an exec that stages can share.
func (t *transport) shareable(ctx context.Context) (id, uri string, err error) {
	if err := t.stage.turn(ctx, actionExec, false); err != nil {
		return "", "", err
	}
	id = remote.NewShareID()
	uri, err = t.stage.API.ExecURI(ctx, execRequest(t.group, remote.Helper, remote.ShareCommand(id)))
	t.heard(err)
	return id, uri, err
}

// borrow gets the exec that the job's stages share; nil where the stage is to make its
// own. A relay that has lost its exec gets another one.
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
	return loan, nil
}

// answer is what a relay says to the wish for its exec.
type answer struct {
	loan *relay.Loan
	err  error
}

// failed tells whether there is no relay that answers.
func (a answer) failed() bool {
	return a.err != nil && !errors.Is(a.err, relay.ErrNone) && !errors.Is(a.err, relay.ErrBusy)
}

// take asks the relay for its exec. One that is gone, or late with its answer, is left
// to replaceRelay.
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
		case <-dials: // which a dial of our own would not be done before
			limit = time.After(relayDial)
			continue
		case <-ctx.Done():
		case <-limit:
		}
		t.late = asked
		return nil, relay.ErrWedged
	}
}

// replaceRelay ends the use of the relay by a script: where it was gone or is wedged,
// the job's next script finds another one.
func (t *transport) replaceRelay() {
	if t.late != nil {
		select {
		case a := <-t.late:
			if a.err == nil { // the machine was only busy
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

// scripts runs scripts in a group.
type scripts struct {
	*remote.Session
	transport *transport
}

// Run is that of remote.Session.
func (x *scripts) Run(ctx context.Context, job remote.Job) (remote.Result, error) {
	defer x.transport.replaceRelay()
	return x.Session.Run(ctx, job)
}

// staleSockets are those that a relay has left which was killed. One that still runs
// ends with its socket.
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
