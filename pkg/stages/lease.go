package stages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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
// the lease says that the slot is taken.
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
		f, err := s.takeSlot(ctx, n, &silent)
		if err != nil {
			return nil, fmt.Errorf("leasing slot %d for {concurrent_id}: %w", n, err)
		}
		if f != nil {
			s.Job.Slot = fmt.Sprintf("%s-%d", host, n)
			return func() { f.Close() }, nil // what was written is synced
		}
	}
	return nil, fmt.Errorf("all %d slots for {concurrent_id} are taken: remove stale *.attempt.json from %s", mostSlots, s.Config.StateDir)
}

// takeSlot returns the locked file of slot n, nil when another attempt has it.
func (s *Stage) takeSlot(ctx context.Context, n int, silent *bool) (*os.File, error) {
	f, err := s.store().lockSlot(n)
	if f == nil || err != nil {
		return nil, err
	}
	taken, err := s.taken(ctx, f, silent)
	if err == nil && !taken {
		err = s.writeLease(f)
	}
	if err != nil || taken {
		f.Close() // nothing of use was written
		return nil, err
	}
	return f, nil
}

// lockSlot returns nil where another process has the lock.
func (s store) lockSlot(n int) (*os.File, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making state_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("slot-%d.lease.json", n)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		f.Close() // nothing was written
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return f, nil
}

// taken tells whether the attempt that f names may still have a group. After one call
// without an answer, which sets silent, no other is made: each slot in doubt counts as
// taken, of which a host may have hundreds, and one that was never used is taken instead.
func (s *Stage) taken(ctx context.Context, f *os.File, silent *bool) (bool, error) {
	data, err := io.ReadAll(f)
	if err != nil {
		return false, err
	}
	var l lease
	// An unreadable lease was never finished, so its attempt never had a group.
	if json.Unmarshal(data, &l) != nil || l.Record == "" || l.Record == filepath.Base(s.store().recordPath(s.Job)) {
		return false, nil
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

func (s *Stage) writeLease(f *os.File) error {
	data, err := json.Marshal(lease{
		Record: filepath.Base(s.store().recordPath(s.Job)),
		Tags:   attemptTags(s.Config, s.Job),
		Ends:   s.Clock.Now().Add(s.Config.Timeouts.Ready + s.deadline() + time.Hour),
	})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(append(data, '\n'), 0); err != nil {
		return err
	}
	return f.Sync()
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
