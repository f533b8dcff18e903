package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// All processes of the driver on this host together make no more calls than a part of what
// ECI documents for an account. Each call takes a turn in a queue that all share, a file of
// state_dir, and so comes late instead of being refused. The rest of the limit is for other
// hosts, and for calls that can't wait.

// Rate is how often calls of one action may be made: so many a minute, and after a quiet
// time a burst of so many at once.
type Rate struct{ PerMinute, Burst int }

// every is the time between two calls at that rate.
func (r Rate) every() time.Duration { return time.Minute / time.Duration(r.PerMinute) }

const (
	actionCreate   = "CreateContainerGroup"
	actionDelete   = "DeleteContainerGroup"
	actionDescribe = "DescribeContainerGroups"
	actionPrice    = "DescribeContainerGroupPrice"
	actionLog      = "DescribeContainerLog"
	actionExec     = "ExecContainerCommand"
)

// HostRate is a host's part of an action's documented limit, about four fifths: 2000 a minute for
// describe, 500 for logs and execs, 1000 for the rest (sources.md: limits).
func HostRate(action string) Rate {
	switch action {
	case actionDescribe:
		return Rate{1600, 200}
	case actionLog:
		return Rate{400, 50}
	case actionExec:
		return Rate{400, 20}
	}
	return Rate{800, 100}
}

const longestQueue = 10 * time.Minute // a turn that is later was written under another clock

// turns is the queue of an action.
type turns struct {
	Next time.Time `json:"next"` // when the next call is due, were there no burst
	At   time.Time `json:"at"`   // when the last turn was taken; in the future only where the clock was set back, as by NTP
}

// turnsSize is the size of the queue's file in bytes. It is padded to that, so that a write
// in place leaves nothing of the old content behind.
const turnsSize = 128

func (s store) turnsPath(action string) string { return filepath.Join(s.dir, "calls-"+action+".json") }

// turn waits until one more call of an action may be made. It takes its turn at once and
// then waits for it, so that calls are made in the order in which they were asked for. An
// urgent call takes a turn too, but does not wait. The only error is that of ctx: where
// state_dir can't be used there is no queue, and ECI refuses what is above the limit.
func (s *Stage) turn(ctx context.Context, action string, urgent bool) error {
	rates := s.Rates
	if rates == nil {
		rates = HostRate
	}
	wait := s.store().takeTurn(action, rates(action), s.Clock.Now)
	if urgent || wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.Clock.After(wait):
		return nil
	}
}

// takeTurn takes the next turn and tells how long it is until then. The clock is asked
// when the file is had, for which a turn may have waited.
func (s store) takeTurn(action string, r Rate, clock func() time.Time) time.Duration {
	path := s.turnsPath(action)
	release, err := s.lock(lockByte(path), unix.F_WRLCK, unix.F_OFD_SETLKW)
	defer release()
	if err != nil {
		return 0
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0
	}
	defer f.Close() // a lost turn costs a call that is refused
	var t turns
	now := clock()
	if json.NewDecoder(f).Decode(&t) != nil || t.Next.Before(now) || t.Next.After(now.Add(longestQueue)) {
		t.Next = now
	}
	if ahead := t.At.Sub(now); ahead > 0 && t.Next.After(now) {
		t.Next = t.Next.Add(-ahead) // the queue is as long as it was
	}
	wait := t.Next.Sub(now) - time.Duration(r.Burst-1)*r.every()
	t.Next, t.At = t.Next.Add(r.every()), now
	// In place, because each call waits for this write: a file that is replaced by rename
	// has ext4 allocate its blocks at once (ext4(5), auto_da_alloc), which takes milliseconds.
	if text, err := json.Marshal(t); err == nil {
		f.WriteAt(fmt.Appendf(nil, "%-*s\n", turnsSize-1, text), 0) //nolint:errcheck // as above
	}
	return wait
}

// paced is an API whose calls take their turns. Execs do so elsewhere (transport.go), where
// it is known which are urgent.
type paced struct {
	API
	stage *Stage
}

// Paced makes the calls of api keep to the host's rates.
func (s *Stage) Paced(api API) API { return paced{api, s} }

func (p paced) CreateContainerGroup(ctx context.Context, params eci.Params) (string, error) {
	if err := p.stage.turn(ctx, actionCreate, false); err != nil {
		return "", err
	}
	return p.API.CreateContainerGroup(ctx, params)
}

func (p paced) DescribeContainerGroups(ctx context.Context, q eci.Query) ([]eci.Group, error) {
	if err := p.stage.turn(ctx, actionDescribe, false); err != nil {
		return nil, err
	}
	return p.API.DescribeContainerGroups(ctx, q)
}

func (p paced) DescribeContainerGroupPrice(ctx context.Context, q eci.PriceQuery) (eci.Price, error) {
	if err := p.stage.turn(ctx, actionPrice, false); err != nil {
		return eci.Price{}, err
	}
	return p.API.DescribeContainerGroupPrice(ctx, q)
}

func (p paced) DescribeContainerLog(ctx context.Context, group, container string) (string, error) {
	if err := p.stage.turn(ctx, actionLog, false); err != nil {
		return "", err
	}
	return p.API.DescribeContainerLog(ctx, group, container)
}

func (p paced) DeleteContainerGroup(ctx context.Context, id string, force bool) error {
	if err := p.stage.turn(ctx, actionDelete, false); err != nil {
		return err
	}
	return p.API.DeleteContainerGroup(ctx, id, force)
}
