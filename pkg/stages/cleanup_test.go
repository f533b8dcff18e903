package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// A create call that got no answer is looked after three times by later prepares,
// not more, and then forgotten.
func TestDoubtIsLookedUpThrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	cut := onCall("CreateContainerGroup", 0, ecitest.CallFault{CutBefore: true}, true)
	_ = w.faulty(t, cut, func(ctx context.Context) error { return w.stage(t, new(bytes.Buffer)).Prepare(ctx) })
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	attempt := w.env.Attempt
	looks := func() (n int) {
		for _, c := range w.server.Calls() {
			for key := range c.Params {
				if c.Action == "DescribeContainerGroups" && strings.HasPrefix(key, "Tag.") && c.Params.Get(key) == attempt {
					n++
				}
			}
		}
		return n
	}
	if n := looks(); n != 1 {
		t.Errorf("cleanup looked %d times", n)
	}
	steps := []struct {
		after time.Duration
		looks int
		kept  int
	}{
		{2 * time.Second, 1, 1}, {31 * time.Second, 2, 1}, {4 * time.Minute, 2, 1}, {6 * time.Minute, 3, 1},
		{50 * time.Minute, 3, 1}, {61 * time.Minute, 4, 0}, {70 * time.Minute, 4, 0},
	}
	for i, s := range steps {
		w.job(t, map[string]any{"id": 100 + i})
		w.env.Attempt = fmt.Sprintf("%08x", i)
		stage := w.stage(t, new(bytes.Buffer))
		stage.Clock = skewed{by: s.after}
		if err := stage.Prepare(w.context(t)); err != nil {
			t.Fatal(err)
		}
		if err := w.cleanup(t); err != nil {
			t.Fatal(err)
		}
		if n, kept := looks(), len(w.stateFiles(t, "*.attempt.json")); n != s.looks || kept != s.kept {
			t.Errorf("after %s: %d looks and %d records, want %d and %d", s.after, n, kept, s.looks, s.kept)
		}
	}
}

// A cleanup that goes past while the create call is on its way leaves the group
// to the prepare that made it.
func TestCleanupDuringCreate(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action == "CreateContainerGroup" {
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		}
		return ecitest.CallFault{}
	}})
	_, err := w.prepare(t)
	wantError(t, err, "was cleaned up while its container group eci-")
	w.awaitNoGroups(t)
}

// A stage that works on an attempt is in nobody's way, and nobody in its.
func TestOnlyOneSettlesAnAttempt(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	id := w.server.Live()[0]
	reapedMeanwhile := ""
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action == "DeleteContainerGroup" && n == 0 {
			w.server.SetFaults(ecitest.Faults{})
			reapedMeanwhile, _ = w.reap(t, reaping{host: time.Hour})
		}
		return ecitest.CallFault{}
	}})
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	row(t, reapedMeanwhile, id, "kept", "a stage works on its attempt")
	if deleted := w.calls()["DeleteContainerGroup"]; deleted != 1 {
		t.Errorf("%d deletes, want 1", deleted)
	}
}

// A record that can't be read costs nothing but its id: the tags find the group.
func TestCleanupWithADamagedRecord(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.writeState(t, w.stateFiles(t, "*.attempt.json")[0], `{"job": `)
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.awaitNoGroups(t)
	if left := w.stateFiles(t, "*.attempt.json"); len(left) > 0 {
		t.Errorf("state left: %v", left)
	}
}

// Where state_dir can't be written any more, cleanup deletes and then complains.
func TestCleanupWithoutStateDir(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.RemoveAll(w.config.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.config.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.cleanup(t), "state_dir")
	w.awaitNoGroups(t)
}

// Of a job that has run no file is left soon after: hosts run a hundred thousand a day,
// and each prepare looks through state_dir.
func TestNoFileOfAJobIsLeft(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if files := w.stateFiles(t, "*-j42*"); len(files) == 0 {
		t.Error("no file of the job: the test shows nothing")
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	if out, err := w.reap(t, reaping{host: 11 * time.Minute}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if files := w.stateFiles(t, "*-j42*"); len(files) > 0 {
		t.Errorf("files left: %v", files)
	}
}

// Where the id of a new group can't be recorded, prepare deletes it: cleanup would have
// to find it in a list that need not have it yet.
func TestGroupWhoseIDCantBeRecorded(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	front := w.front(t, in(0))
	w.config.Endpoint = front.url
	front.hidden.Store(true)
	lock := filepath.Join(w.config.StateDir, ".lock")
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "CreateContainerGroup" { // a directory can't be opened for writing, as nothing on a read-only disk can
			if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
				t.Error(err)
			}
		}
		return ecitest.CallFault{}
	}})
	_, err := w.prepare(t)
	wantError(t, err, "locking state_dir")
	wantError(t, w.cleanup(t), "locking state_dir")
	w.awaitNoGroups(t)
}

// Two driver's files of two regions may have one state_dir: what a cleanup has left in
// one is not looked for, and forgotten, in the other.
func TestTwoRegionsWithOneStateDir(t *testing.T) {
	t.Parallel()
	here := newWorld(t, ecitest.Options{})
	other := newWorld(t, ecitest.Options{})
	there := other.another(t, 43)
	there.config.Region, there.config.StateDir = "cn-hangzhou", here.config.StateDir
	group := here.leftByCleanup(t)

	stage := there.stage(t, new(bytes.Buffer))
	stage.Clock = skewed{by: 2 * time.Hour}
	if err := stage.Prepare(there.context(t)); err != nil {
		t.Fatal(err)
	}
	if err := there.cleanup(t); err != nil {
		t.Fatal(err)
	}
	out, err := there.reap(t, reaping{host: 2 * time.Hour})
	if err != nil {
		t.Error(err)
	}
	row(t, out, "j42", "kept", "its container group is in ap-northeast-1")
	moved := *here
	config := *here.config
	moved.config, config.Region = &config, "cn-hangzhou"
	wantError(t, moved.cleanup(t), group+" may still be running in ap-northeast-1")
	if out, err = here.reap(t, reaping{host: 2 * time.Hour}); err != nil {
		t.Error(err)
	}
	row(t, out, group, "deleted", "its job is over")
	here.awaitNoGroups(t)
	there.awaitNoGroups(t)
}

// Where the driver's file names another region in mid-job, and the endpoint tells where the
// old one is, cleanup and reap end there what is left, and the job's cost is logged.
func TestRegionChangedInMidJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	dial := func(cfg *config.Config) (stages.API, error) {
		if got := cfg.EndpointURL(); got != "https://eci-vpc.ap-northeast-1.aliyuncs.com" {
			t.Errorf("the other region is asked at %s", got)
		}
		client := w.client(t, w.server.URL())
		return client, nil
	}
	changed := *w.config
	changed.Region, changed.Endpoint = "cn-hangzhou", ""
	cleanup := func() (string, error) {
		var log bytes.Buffer
		stage := w.stage(t, new(bytes.Buffer))
		stage.API, stage.Config, stage.Dial = nil, &changed, dial
		stage.Logger.(*logrus.Logger).SetOutput(&log)
		err := stage.Cleanup(w.context(t))
		return log.String(), err
	}
	reap := func() string {
		var out bytes.Buffer
		reaper := stages.Reaper{Config: &changed, API: w.otherRegion(t), Clock: skewed{by: time.Minute}, Stdout: &out, Dial: dial}
		if err := reaper.Reap(w.context(t), stages.ReapOptions{}); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	for _, finisher := range []string{"cleanup", "reap"} {
		if out, err := w.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		group := w.server.Live()[0]
		limit := changed.Timeouts.Delete
		if finisher == "reap" {
			w.server.SetFaults(faults(t, "DeleteContainerGroup:error=503/ServiceUnavailable"))
			changed.Timeouts.Delete = time.Second // nobody does it anyway
		}
		log, err := cleanup()
		if !strings.Contains(log, "container group's cost") {
			t.Errorf("%s: the cost is not logged:\n%s", finisher, log)
		}
		if finisher == "reap" {
			wantError(t, err, group+" may still be running", "reap with that region")
			row(t, reap(), "j42", "kept", "its container group is in ap-northeast-1")
			w.server.SetFaults(ecitest.Faults{})
			changed.Timeouts.Delete = limit
			row(t, reap(), "j42", "removed", "nothing of it is left in ap-northeast-1")
		} else if err != nil {
			t.Errorf("cleanup: %v", err)
		}
		w.awaitNoGroups(t)
		if left := w.stateFiles(t, "*.attempt.json"); len(left) > 0 {
			t.Errorf("%s: state left: %v", finisher, left)
		}
	}
}

// otherRegion asks the local ECI for what is in another region than the driver's file's.
func (w *world) otherRegion(t *testing.T) stages.API {
	t.Helper()
	changed := *w.config
	changed.Region = "cn-hangzhou"
	other := *w
	other.config = &changed
	return other.client(t, w.server.URL())
}

// The tags are a filter of the server's; one that ignores them costs nobody's
// group.
func TestCleanupTrustsNoFilter(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	id := w.group(t, "ci-1", tagsOf(map[string]string{"attempt": "0123abce"}), "sleep", "600")
	stage := w.stage(t, new(bytes.Buffer))
	stage.API = unfiltered{stage.API}
	if err := stage.Cleanup(w.context(t)); err != nil {
		t.Fatal(err)
	}
	if live := w.server.Live(); len(live) != 1 || live[0] != id {
		t.Errorf("groups %v, want %s alone", live, id)
	}
	w.deleteAll(t)
}

// unfiltered is an API that answers every query with all groups.
type unfiltered struct{ stages.API }

func (u unfiltered) DescribeContainerGroups(ctx context.Context, _ eci.Query) ([]eci.Group, error) {
	return u.API.DescribeContainerGroups(ctx, eci.Query{})
}
