package stages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
)

// leasing is a stage on a host whose state is in dir, for an attempt of its own.
func leasing(t *testing.T, dir, attempt string) *Stage {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(smallDriverFile+`[[nas]]
name = "m2"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/m2/{concurrent_id}"
mount_path = "/m2"
`))
	if err != nil {
		t.Fatal(err)
	}
	cfg.StateDir = dir
	job := someJob()
	job.Attempt = attempt
	return &Stage{Config: cfg, Job: job, Clock: SystemClock{}, Logger: logrus.New()}
}

// Prepares that begin at once get different slots.
func TestSlotsAtOnce(t *testing.T) {
	const prepares = 16
	dir := t.TempDir()
	slots := make([]string, prepares)
	var releases [prepares]func()
	var wg sync.WaitGroup
	for i := range prepares {
		s := leasing(t, dir, strings.Repeat("0", 7)+string(rune('a'+i)))
		wg.Go(func() {
			release, err := s.leaseSlot(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			slots[i], releases[i] = s.Job.Slot, release
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	seen := map[string]bool{}
	host, _, _ := strings.Cut(slots[0], "-")
	for i, slot := range slots {
		if seen[slot] || !strings.HasPrefix(slot, host+"-") || len(host) != 12 {
			t.Errorf("prepare %d has slot %q, among %q", i, slot, slots)
		}
		seen[slot] = true
		releases[i]()
	}
}

// A lease whose writing was cut short is one of an attempt that never had a group.
func TestSlotWithADamagedLease(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slot-0.lease.json"), []byte(`{"record":"x`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := leasing(t, dir, "0123abcd")
	release, err := s.leaseSlot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if !strings.HasSuffix(s.Job.Slot, "-0") {
		t.Errorf("slot %q", s.Job.Slot)
	}
}

// A slot is known by the record of its attempt, not by the lock on it.
func TestSlotOfARecord(t *testing.T) {
	dir := t.TempDir()
	first := leasing(t, dir, "0123abcd")
	release, err := first.leaseSlot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := save(first.store().recordPath(first.Job), &Record{Attempt: first.Job.Attempt}); err != nil {
		t.Fatal(err)
	}
	release()
	again, second := leasing(t, dir, "0123abcd"), leasing(t, dir, "4567abcd")
	for _, s := range []*Stage{second, again} {
		release, err := s.leaseSlot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
	if again.Job.Slot != first.Job.Slot || second.Job.Slot == first.Job.Slot {
		t.Errorf("slot %q, then %q for the same attempt and %q for another", first.Job.Slot, again.Job.Slot, second.Job.Slot)
	}
}

func TestNoSlotWhereNoneIsUsed(t *testing.T) {
	s := leasing(t, filepath.Join(t.TempDir(), "none"), "0123abcd")
	s.Config.NAS[0].Path = "/m2"
	release, err := s.leaseSlot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := os.Stat(s.Config.StateDir); s.Job.Slot != "" || !os.IsNotExist(err) {
		t.Errorf("slot %q, state_dir %v", s.Job.Slot, err)
	}
}

func TestHostID(t *testing.T) {
	dir := t.TempDir()
	id := func(dir, name string) string {
		t.Helper()
		got, err := store{dir}.hostID(func() (string, error) { return name, nil })
		if err != nil || len(got) != 12 {
			t.Fatalf("host id %q, %v", got, err)
		}
		return got
	}
	first := id(dir, "runner-1")
	if again := id(dir, "runner-1"); again != first {
		t.Errorf("the id changed from %s to %s", first, again)
	}
	if other := id(t.TempDir(), "runner-1"); other == first {
		t.Error("two hosts have one id")
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if other := id(copied, "runner-2"); other == first {
		t.Error("a host made from the image of another has its id")
	}
	for _, damaged := range []string{"", "x", `{"id": 7}`, `{"id": "0123456789ab", "name": 7}`, "\x00\x00"} {
		if err := os.WriteFile(filepath.Join(dir, "host.json"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		drawn := id(dir, "runner-1")
		if again := id(dir, "runner-1"); drawn == first || again != drawn {
			t.Errorf("after %q the id is %s, then %s", damaged, drawn, again)
		}
	}
}

// Prepares find each other in a state_dir of any name: its characters are no pattern.
func TestCrowdInAnOddDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b*]?{c}")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		c := leasing(t, dir, fmt.Sprintf("0123abc%d", i)).joinCrowd(false)
		if n := c.count(); n != i+1 {
			t.Errorf("%d prepares wait, want %d", n, i+1)
		}
		defer c.leave()
	}
}
