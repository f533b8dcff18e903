package stages

import (
	"context"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// All processes of the driver on this host together make at most execsPerMinute Sync
// execs. ECI documents 500 ExecContainerCommand a minute for an account (eci-exec.md,
// 2); what is left is for other hosts and for what can't wait.
const (
	execsPerMinute = 400
	execBurst      = 20
	execEvery      = time.Minute / execsPerMinute
	longestQueue   = 10 * time.Minute // a later turn was written under another clock
)

// turns is when the next exec is due if each were made at its turn.
type turns struct {
	Next time.Time `json:"next"`
}

func (s store) turnsPath() string { return filepath.Join(s.dir, "sync-execs.json") }

// execTurn waits until one more Sync exec may be made: for its turn, which it takes at
// once, so that who came first goes first. What is urgent takes a turn and does not
// wait for it. The only error is that of ctx: where state_dir can't be used, the
// account's limit, which ECI guards, is all there is.
func (s *Stage) execTurn(ctx context.Context, urgent bool) error {
	wait := s.store().takeTurn(s.Clock.Now())
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

// takeTurn takes the next turn and tells how long it is until then. A burst may
// come at once after a quiet time.
func (s store) takeTurn(now time.Time) time.Duration {
	path := s.turnsPath()
	release, err := s.lock(lockByte(path), unix.F_WRLCK, unix.F_OFD_SETLKW)
	defer release()
	if err != nil {
		return 0
	}
	var t turns
	if !loadCache(path, &t) || t.Next.Before(now) || t.Next.After(now.Add(longestQueue)) {
		t.Next = now
	}
	wait := t.Next.Sub(now) - (execBurst-1)*execEvery
	t.Next = t.Next.Add(execEvery)
	saveCache(path, t)
	return wait
}
