package stages

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

func TestLocks(t *testing.T) {
	s := store{filepath.Join(t.TempDir(), "state")}
	const one, other = "gitlab-j1-a0123abcd.attempt.json", "gitlab-j2-a0123abcd.attempt.json"
	type lock = func(string) (func(), error)
	tests := []struct {
		name        string
		first, then lock
		on          string // of the second
		locked      bool
	}{
		{"two stages of one attempt", s.hold, s.hold, one, false},
		{"a stage, then a reap", s.hold, s.claim, one, true},
		{"a reap, then a stage", s.claim, s.hold, one, true},
		{"two reaps", s.claim, s.claim, one, true},
		{"two attempts", s.claim, s.claim, other, false},
		{"an attempt and the directory", s.claim, func(string) (func(), error) { return s.lockDir() }, one, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			release, err := tt.first(one)
			if err != nil {
				t.Fatal(err)
			}
			again, err := tt.then(tt.on)
			if errors.Is(err, errLocked) != tt.locked || err != nil && !tt.locked {
				t.Errorf("error %v, locked %v wanted", err, tt.locked)
			}
			release()
			again()
			if release, err = s.claim(one); err != nil {
				t.Errorf("it stays locked: %v", err)
			}
			release()
		})
	}
}

// A lock ends with its release, even where a child holds its file open still.
func TestLocksAreNotInherited(t *testing.T) {
	s := store{t.TempDir()}
	release, err := s.claim("gitlab-j1-a0123abcd.attempt.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	inherited := false
	for _, name := range files {
		if target, err := os.Readlink(name); err != nil || target != filepath.Join(s.dir, lockFile) {
			continue
		}
		fd, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		child, err := unix.Dup(fd) // the same open file, as a fork makes it
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(child)
		inherited = true
	}
	if !inherited {
		t.Fatal("no file is locked: the test shows nothing")
	}
	release()
	if release, err = s.claim("gitlab-j1-a0123abcd.attempt.json"); err != nil {
		t.Error(err)
	}
	release()
}

// Many processes change one record, and no change is lost.
func TestUpdatesTakeTurns(t *testing.T) {
	s := store{t.TempDir()}
	path := filepath.Join(s.dir, "gitlab-j1-a0123abcd.attempt.json")
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			_, err := s.update(path, func(r *Record) *Record {
				if r == nil {
					r = &Record{}
				}
				r.Looks++
				return r
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	var r Record
	if _, err := load(path, &r); err != nil || r.Looks != 20 {
		t.Errorf("%d changes are left, want 20: %v", r.Looks, err)
	}
}

// A state_dir that can't be written keeps nothing from being known.
func TestUpdateWithoutADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := store{file}
	r, err := s.update(filepath.Join(file, "gitlab-j1-a0123abcd.attempt.json"), func(*Record) *Record { return &Record{Attempt: "0123abcd"} })
	if err == nil || r == nil || r.Attempt != "0123abcd" {
		t.Errorf("record %+v, %v", r, err)
	}
}

// A change of what is there takes nothing away that can't be read.
func TestAmendOfADamagedRecord(t *testing.T) {
	s := &Stage{Config: &config.Config{StateDir: t.TempDir()}, Job: &Job{ID: 1, Instance: "gitlab.com", Attempt: "0123abcd"}, Clock: SystemClock{}}
	path := s.store().recordPath(s.Job)
	if err := os.WriteFile(path, []byte(`{"job": `), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.amend(func(*Record) { t.Error("changed") }); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != `{"job": ` {
		t.Errorf("%q is left, %v", text, err)
	}
}

func TestPrune(t *testing.T) {
	s := store{t.TempDir()}
	now := time.Now()
	files := []struct {
		name string
		age  time.Duration
		goes bool
	}{
		{"gitlab-j1.job.json", 25 * time.Hour, true},
		{"gitlab-j2.job.json", 23 * time.Hour, false},
		{".tmp-gitlab-j3-a0123abcd.attempt-1", time.Hour, true},
		{".tmp-gitlab-j4-a0123abcd.attempt-1", time.Second, false},
		{"gitlab-j5-a0123abcd.attempt.json", 1000 * time.Hour, false},
		{"price-ap-northeast-1-2-4-0-0-0.json", 169 * time.Hour, true},
		{"price-ap-northeast-1-4-8-0-0-0.json", 167 * time.Hour, false},
		{"price-example-com-j6.job.json", 25 * time.Hour, true},
		{"price-example-com-j6-a0123abcd.attempt.json", 1000 * time.Hour, false},
		{"runners.json", 1000 * time.Hour, false},
		{"somebody.else", 1000 * time.Hour, false},
	}
	var want []string
	for _, f := range files {
		path := filepath.Join(s.dir, f.name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, now, now.Add(-f.age))); err != nil {
			t.Fatal(err)
		}
		if f.goes {
			want = append(want, path)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, s.prune(now)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(s.dir, f.name)); (err != nil) != f.goes {
			t.Errorf("%s: %v, want it gone: %v", f.name, err, f.goes)
		}
	}
}

func TestRunnersAreRememberedOnce(t *testing.T) {
	s := store{t.TempDir()}
	want := []Runner{{"gitlab.com", "1"}, {"gitlab.example.com", "1"}}
	for _, r := range append(want, want...) {
		if err := s.remember(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.runners()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A record names groups by all its tags, and no group where it has no attempt.
func TestRecordFinds(t *testing.T) {
	tags := map[string]string{tagManagedBy: DriverName, tagRunner: "12", tagAttempt: "0123abcd"}
	tests := []struct {
		name   string
		record Record
		want   bool
	}{
		{"by all tags", Record{Tags: tags}, true},
		{"by its id", Record{GroupID: "eci-1", Tags: map[string]string{tagAttempt: "0123abce"}}, true},
		{"another attempt", Record{Tags: map[string]string{tagManagedBy: DriverName, tagAttempt: "0123abce"}}, false},
		{"no attempt", Record{Tags: map[string]string{tagManagedBy: DriverName}}, false},
		{"no tags and no id", Record{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.record.finds(&eci.Group{ID: "eci-1", Tags: tags}); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A group is not asked for once its attempt was cleaned up.
func TestIntentAfterCleanup(t *testing.T) {
	s := &Stage{Config: &config.Config{StateDir: t.TempDir()}, Job: &Job{ID: 1, Instance: "gitlab.com", Attempt: "0123abcd"}, Clock: SystemClock{}}
	tests := []struct {
		name   string
		before *Record
		ok     bool
	}{
		{"nothing is recorded", nil, true},
		{"a refused intent", &Record{Params: eci.Params{"ClientToken": "1"}}, true},
		{"over", &Record{Over: time.Now()}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := s.store().update(s.store().recordPath(s.Job), func(*Record) *Record { return tt.before }); err != nil {
				t.Fatal(err)
			}
			err := s.intend(&Record{Params: eci.Params{"ClientToken": "2"}})
			kept, loadErr := s.store().loadRecord(s.Job)
			if (err == nil) != tt.ok || loadErr != nil || (kept.Params["ClientToken"] == "2") != tt.ok {
				t.Errorf("%+v is recorded, %v, %v", kept, err, loadErr)
			}
		})
	}
}
