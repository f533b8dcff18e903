package stages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// A slot is what {concurrent_id} stands for: <host id>-<n>, a name that no other attempt
// has while the group of this one lives. The host id tells hosts apart, n the attempts of
// one host.
//
// slot-<n>.lease.json names the attempt that has slot n. prepare takes the slot, and
// nobody gives it back: it is free as soon as the record of that attempt is gone, which
// cleanup or reap removes when nothing of the attempt is left to delete. So no slot is
// lost with a process that was killed. Before prepare has written the record, its lock on
// the lease (lock.go) says that the slot is taken.
type lease struct {
	Record string            `json:"record"` // file name of the attempt's record
	Tags   map[string]string `json:"tags"`   // those that find its groups
	Ends   time.Time         `json:"ends"`   // by then ECI has ended any group of it
}

// mostSlots bounds the search; an account has far fewer groups at a time.
const mostSlots = 10_000

// leaseSlot gives the job a slot, where the driver's file has a use for one, until
// its record is gone. release must be called when the record is written or the
// prepare has failed.
func (s *Stage) leaseSlot(ctx context.Context) (release func(), err error) {
	if !nasmount.NeedSlot(s.Config.NAS) {
		return func() {}, nil
	}
	host, err := s.store().hostID(os.Hostname)
	if err != nil {
		return nil, err
	}
	silent := false // ECI did not answer for one slot
	for n := range mostSlots {
		release, err := s.takeSlot(ctx, s.store().leasePath(n), &silent)
		if err != nil {
			return nil, fmt.Errorf("leasing slot %d for {concurrent_id}: %w", n, err)
		}
		if release != nil {
			s.Job.Slot = fmt.Sprintf("%s-%d", host, n)
			return release, nil
		}
	}
	return nil, fmt.Errorf("all %d slots for {concurrent_id} are taken: remove stale *.attempt.json from %s", mostSlots, s.Config.StateDir)
}

func (s store) leasePath(n int) string {
	return filepath.Join(s.dir, fmt.Sprintf("slot-%d.lease.json", n))
}

// takeSlot claims the slot of a lease and names the stage's attempt in it. It returns nil
// without an error where another attempt has the slot.
func (s *Stage) takeSlot(ctx context.Context, path string, silent *bool) (release func(), err error) {
	release, err = s.store().claim(path)
	if errors.Is(err, errLocked) {
		return nil, nil
	}
	taken := false
	if err == nil {
		taken, err = s.taken(ctx, path, silent)
	}
	if err == nil && !taken {
		err = write(path, lease{
			Record: filepath.Base(s.store().recordPath(s.Job)),
			Tags:   attemptTags(s.Config, s.Job),
			Ends:   s.Clock.Now().Add(s.Config.Timeouts.Ready + s.deadline() + time.Hour),
		})
	}
	if err != nil || taken {
		release()
		return nil, err
	}
	return release, nil
}

// taken tells whether the attempt that a lease names may still have a group. After one call
// without an answer, which sets silent, no other is made: each slot in doubt counts as
// taken, of which a host may have hundreds, and one that was never used is taken instead.
func (s *Stage) taken(ctx context.Context, path string, silent *bool) (bool, error) {
	// A damaged lease was never finished, so its attempt never had a group.
	l, err := loadAnew[lease](path)
	if err != nil || l.Record == "" || l.Record == filepath.Base(s.store().recordPath(s.Job)) {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(s.Config.StateDir, l.Record)); !errors.Is(err, os.ErrNotExist) {
		return true, err
	}
	if s.Clock.Now().After(l.Ends) {
		return false, nil
	}
	if *silent {
		return true, nil
	}
	// A delete that was accepted is not yet done: the group may still write.
	groups, err := s.API.DescribeContainerGroups(ctx, eci.Query{Tags: l.Tags})
	if err != nil {
		s.Logger.WithError(err).Warn("asking whether the last group of a slot is gone")
		*silent = true
		return true, nil
	}
	for i := range groups {
		// Tags are a filter of the server's; what counts is checked here.
		if groups[i].Tags[tagAttempt] == l.Tags[tagAttempt] && !groups[i].Terminal() {
			return true, nil
		}
	}
	return false, nil
}

// identity is host.json: who this host is among those that mount the same NAS.
type identity struct {
	ID   string `json:"id"`   // 12 hex digits
	Name string `json:"name"` // host name; another one means that state_dir was copied
}

// hostID is drawn once for a state_dir. It is drawn anew where state_dir was copied to
// another host, as with an image of the machine, and where its file is damaged: jobs then
// begin with empty directories on the NAS, which is better than not at all.
func (s store) hostID(hostname func() (string, error)) (string, error) {
	name, err := hostname()
	if err != nil {
		return "", fmt.Errorf("asking for the name of this host: %w", err)
	}
	path := filepath.Join(s.dir, "host.json")
	if found, err := loadAnew[identity](path); err != nil || found.ID != "" && found.Name == name {
		return found.ID, err
	}
	release, err := s.lockDir()
	defer release()
	if err != nil {
		return "", err
	}
	// Another process may have drawn meanwhile.
	if found, err := loadAnew[identity](path); err != nil || found.ID != "" && found.Name == name {
		return found.ID, err
	}
	drawn := identity{ID: randomHex(6), Name: name}
	return drawn.ID, write(path, drawn)
}
