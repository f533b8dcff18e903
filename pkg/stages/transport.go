package stages

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// The transports of [exec] transport.
const (
	transportAuto = "auto"
	transportSync = "sync"
)

const (
	dialsUntilSync = 2              // how many in a row must fail for auto to give the WebSocket up
	unreachedFor   = 24 * time.Hour // after which this host tries it again

	// Where this host has reached it within that time, an outage that passes is more likely
	// than a way that is closed.
	outageUntilSync = time.Minute      // for how long dials must fail then ...
	outageFor       = 10 * time.Minute // ... and after which this host tries it again
	reachedEvery    = time.Hour        // how often it is noted that it was reached
)

// unreached is what this host knows of its way to a region's WebSocket host.
type unreached struct {
	Host   string    `json:"host"`
	At     time.Time `json:"at"`
	Outage bool      `json:"outage,omitempty"` // it was reached not long before
}

// holds tells whether it is not yet time to try again.
func (u unreached) holds(now time.Time) bool {
	life := unreachedFor
	if u.Outage {
		life = outageFor
	}
	return younger(now, u.At, life)
}

// transport opens the execs of one group. With auto it begins with the WebSocket, and
// changes to Sync execs for the rest of the job where ECI's WebSocket host can't be
// connected to. An exec that the API or that host refuses is no reason to: it was reached.
type transport struct {
	stage  *Stage
	record *Record
	group  string
	socket opener
	sync   *remote.Sync // nil while the WebSocket is used
	failed int          // dials that failed in a row, ...
	since  time.Time    // ... and when the first of them did
	heard  func(error)  // is told what came of each API call

	gone bool          // there is no relay, though there should be
	late <-chan answer // where the answer of a relay will come that was not waited for
}

type opener = func(context.Context, remote.Role, []string) (remote.Stream, error)

// socket opens execs in a group by WebSocket.
func (s *Stage) socket(group string) opener {
	return func(ctx context.Context, role remote.Role, command []string) (remote.Stream, error) {
		if err := s.turn(ctx, actionExec, remote.Urgent(command)); err != nil {
			return nil, err
		}
		stream, err := s.API.Exec(ctx, execRequest(group, role, command))
		if err != nil {
			return nil, err
		}
		return stream, nil
	}
}

func execRequest(group string, role remote.Role, command []string) eci.ExecRequest {
	return eci.ExecRequest{GroupID: group, Container: string(role), Command: command}
}

// transport opens execs in the group of a record, and tells heard what came of each call
// of the API.
func (s *Stage) transport(record *Record, heard func(error)) *transport {
	t := &transport{stage: s, record: record, group: record.GroupID, socket: s.socket(record.GroupID), heard: heard}
	switch {
	case s.Config.Exec.Transport == transportSync:
		t.useSync()
	case s.Config.Exec.Transport != transportAuto:
	case record.Transport == transportSync:
		t.useSync()
	default:
		if known := s.store().unreached(s.Config.Region); known.holds(s.Clock.Now()) {
			t.giveUp(known)
		}
	}
	return t
}

func (t *transport) open(ctx context.Context, role remote.Role, command []string) (remote.Stream, error) {
	if t.sync != nil {
		return t.sync.Open(ctx, role, command)
	}
	stream, err := t.socket(ctx, role, command)
	t.heard(err)
	if err == nil {
		t.failed = 0
		t.stage.noteReached()
		return stream, nil
	}
	host := eci.Unreached(err)
	if host == "" || t.stage.Config.Exec.Transport != transportAuto {
		return nil, err
	}
	known := unreached{Host: host, At: t.stage.Clock.Now(), Outage: t.stage.reachedLately()}
	if t.failed == 0 {
		t.since = known.At
	}
	if t.failed++; t.failed < dialsUntilSync || known.Outage && !remote.Urgent(command) && known.At.Sub(t.since) < outageUntilSync {
		return nil, err
	}
	saveCache(t.stage.store().unreachedPath(t.stage.Config.Region), known)
	t.giveUp(known)
	return t.sync.Open(ctx, role, command)
}

func (s *Stage) reachedPath() string {
	return filepath.Join(s.Config.StateDir, "reached-"+label(s.Config.Region)+".json")
}

// noteReached keeps that the WebSocket host was reached.
func (s *Stage) noteReached() {
	if now := s.Clock.Now(); s.Config.Exec.Transport == transportAuto && !s.reachedWithin(now, reachedEvery) {
		saveCache(s.reachedPath(), now)
	}
}

// reachedLately tells whether this host has reached the WebSocket host not long ago.
func (s *Stage) reachedLately() bool {
	return s.reachedWithin(s.Clock.Now(), unreachedFor+reachedEvery)
}

func (s *Stage) reachedWithin(now time.Time, life time.Duration) bool {
	var at time.Time
	return loadCache(s.reachedPath(), &at) && younger(now, at, life)
}

func (t *transport) useSync() {
	s := t.stage
	settings := s.Remote
	settings.PollHold = min(settings.PollHold, s.Config.Timeouts.Call*2/3)
	t.sync = &remote.Sync{
		Exec: func(ctx context.Context, container remote.Role, command []string) (string, error) {
			text, err := s.API.ExecSync(ctx, execRequest(t.group, container, command))
			t.heard(err)
			return text, err
		},
		Turn:     func(ctx context.Context, urgent bool) error { return s.turn(ctx, actionExec, urgent) },
		Limits:   remote.CommandLimits{Words: eci.MaxCommandWords, WordBytes: eci.MaxCommandWordBytes, Bytes: eci.MaxCommandBytes},
		Settings: settings,
	}
}

// giveUp changes to Sync execs, also for the job's later stages, and tells the job's author.
func (t *transport) giveUp(known unreached) {
	t.useSync()
	t.record.Transport = transportSync
	s := t.stage
	fmt.Fprintf(s.Stderr, "The WebSocket host %s of ECI can't be reached from the runner's host (since %s): scripts and logs travel by single calls of the API, and output comes some seconds late.\n", //nolint:errcheck // the log itself tells a lost output
		known.Host, known.At.UTC().Format("2006-01-02 15:04 MST"))
	if _, err := s.amend(func(r *Record) { r.Transport = transportSync }); err != nil {
		s.Logger.WithError(err).Warn("recording the transport: the job's next stage tries the WebSocket again")
	}
}

func (s store) unreachedPath(region string) string {
	return filepath.Join(s.dir, "unreached-"+label(region)+".json")
}

// unreached is zero where the WebSocket host was not found out of reach.
func (s store) unreached(region string) (known unreached) {
	loadCache(s.unreachedPath(region), &known)
	return known
}
