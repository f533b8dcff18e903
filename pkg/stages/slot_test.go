package stages_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// withSlots makes the world's cache one for each slot.
func withSlots(t *testing.T, options ecitest.Options) *world {
	w := newWorld(t, options)
	w.config.NAS[0].Path = "/cache/{concurrent_id}"
	w.config.Timeouts.Ready = time.Minute // several groups at once, under the race detector too
	return w
}

// attempt is the same host with another attempt of the job.
func (w *world) attempt(id string) *world {
	other := *w
	other.env.Attempt = id
	return &other
}

// nasPaths are the paths of the first NAS volume of each group, as ECI was asked
// for them, in order.
func (w *world) nasPaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, c := range w.server.Calls() {
		if c.Action != "CreateContainerGroup" {
			continue
		}
		for key, value := range c.Params {
			if strings.HasSuffix(key, ".FlexVolume.Options") {
				var options map[string]string
				if err := json.Unmarshal([]byte(value[0]), &options); err != nil {
					t.Fatal(err)
				}
				paths = append(paths, options["path"])
			}
		}
	}
	return paths
}

func (w *world) mustPrepare(t *testing.T) {
	t.Helper()
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func (w *world) mustCleanup(t *testing.T) {
	t.Helper()
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// slotsOf names hosts by letters, in the order in which they come.
func slotsOf(paths []string) string {
	hosts := map[string]string{}
	var slots []string
	for _, p := range paths {
		host, n, _ := strings.Cut(path.Base(p), "-")
		if hosts[host] == "" {
			hosts[host] = string(rune('a' + len(hosts)))
		}
		slots = append(slots, hosts[host]+n)
	}
	return strings.Join(slots, " ")
}

// Jobs of two runners on two hosts, at the same time and one after the other.
func TestSlots(t *testing.T) {
	t.Parallel()
	w := withSlots(t, ecitest.Options{})
	otherRunner := w.attempt("0000000b")
	config := *w.config
	otherRunner.config = &config
	otherRunner.config.RunnerName = "second"
	otherHost := w.attempt("0000000c")
	config2 := *w.config
	otherHost.config = &config2
	otherHost.config.StateDir = filepath.Join(t.TempDir(), "state")

	w.mustPrepare(t)
	otherRunner.mustPrepare(t)
	otherHost.mustPrepare(t)
	w.mustCleanup(t)
	w.awaitListed(t, 2)
	later := w.attempt("0000000d")
	later.mustPrepare(t)
	if got := slotsOf(w.nasPaths(t)); got != "a0 a1 b0 a0" {
		t.Errorf("slots %s; want two on the first host, one on the second, and the first again when it is free", got)
	}
	log, err := later.run(t, "build_script", "cd /cache && stat -c '%a %u' . && echo x >kept")
	if err != nil || log != "777 0\n" {
		t.Errorf("%q, %v", log, err)
	}
	for _, other := range []*world{otherRunner, otherHost, later} {
		other.mustCleanup(t)
	}
}

// An API that does not answer is not asked about each slot of a host that has many.
func TestSlotsWhileECIDoesNotAnswer(t *testing.T) {
	w := withSlots(t, ecitest.Options{})
	for n := range 20 {
		w.writeState(t, fmt.Sprintf("slot-%d.lease.json", n), fmt.Sprintf(`{"record": "gone-%d.attempt.json", "tags": {"attempt": "%08x"}, "ends": %q}`,
			n, n, time.Now().Add(time.Hour).Format(time.RFC3339)))
	}
	w.server.SetFaults(faults(t, "DescribeContainerGroups:error=503/ServiceUnavailable", "CreateContainerGroup:error=403/QuotaExceeded"))
	_, err := w.prepare(t)
	wantError(t, err, "QuotaExceeded")
	if n := w.calls()["DescribeContainerGroups"]; n != 1 {
		t.Errorf("%d questions about slots, want 1", n)
	}
}

// No variable of a job leads it to the slot or the project of another.
func TestSpoofingJob(t *testing.T) {
	w := withSlots(t, ecitest.Options{})
	w.config.NAS[0].Path = "/{ref_protected}/{project_path}/{project_id}/{concurrent_id}"
	variables := []map[string]any{{"key": "CI_SERVER_HOST", "value": "gitlab.example.com", "public": true},
		{"key": "CI_COMMIT_REF_PROTECTED", "value": "false", "public": true}}
	for _, key := range []string{"CI_CONCURRENT_ID", "CI_CONCURRENT_PROJECT_ID", "CI_PROJECT_PATH", "CI_PROJECT_ID", "CI_COMMIT_REF_PROTECTED",
		"CI_RUNNER_ID", "CI_BUILDS_DIR", "CI_JOB_ID", "ECI_EXECUTOR_ATTEMPT", "concurrent_id", "CONCURRENT_ID"} {
		for _, value := range []string{"true", "0", "../../other", "other/project"} {
			variables = append(variables, map[string]any{"key": key, "value": value})
			w.env.Custom[key] = value
		}
	}
	w.job(t, map[string]any{"variables": variables})
	w.mustPrepare(t)
	if got := w.nasPaths(t)[0]; !regexp.MustCompile(`^/false/group/app/7/[0-9a-f]{12}-0$`).MatchString(got) {
		t.Errorf("path %q", got)
	}
	w.mustCleanup(t)
}

// A group that is being deleted may still write to its slot: the next job gets
// another one, until ECI does not list the group any more.
func TestSlotOfAGroupThatIsStillListed(t *testing.T) {
	t.Parallel()
	w := withSlots(t, ecitest.Options{Switches: ecitest.Switches{DeletedGroupStaysVisible: time.Hour}})
	w.mustPrepare(t)
	w.mustCleanup(t)
	second := w.attempt("0000000b")
	second.mustPrepare(t)
	second.mustCleanup(t)
	if got := slotsOf(w.nasPaths(t)); got != "a0 a1" {
		t.Errorf("slots %s", got)
	}
	// No group outlives its deadline, whatever is listed.
	for _, name := range []string{"slot-0.lease.json", "slot-1.lease.json"} {
		expire(t, filepath.Join(w.config.StateDir, name))
	}
	third := w.attempt("0000000c")
	third.mustPrepare(t)
	third.mustCleanup(t)
	if got := slotsOf(w.nasPaths(t)); got != "a0 a1 a0" {
		t.Errorf("slots %s", got)
	}
}

func expire(t *testing.T, lease string) {
	t.Helper()
	data, err := os.ReadFile(lease)
	if err != nil {
		t.Fatal(err)
	}
	var l map[string]any
	if err := json.Unmarshal(data, &l); err != nil {
		t.Fatal(err)
	}
	l["ends"] = time.Now().Add(-time.Second)
	if data, err = json.Marshal(l); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lease, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A record that is gone without its group, and an API that does not answer: the slot
// is not given away. A prepare that was killed before it wrote a record has no group.
func TestSlotIsGivenAwayOnlyWhenItsGroupIsGone(t *testing.T) {
	t.Parallel()
	w := withSlots(t, ecitest.Options{})
	w.mustPrepare(t)
	record := only(t, filepath.Join(w.config.StateDir, "*.attempt.json"))
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	second := w.attempt("0000000b")
	second.mustPrepare(t)
	w.mustCleanup(t) // finds the group by its tags
	w.awaitLive(t, 1)
	var asked atomic.Bool
	w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
		if action == "DescribeContainerGroups" && !asked.Swap(true) {
			return ecitest.CallFault{Status: 400, Code: "Throttling", Message: "busy"}
		}
		return ecitest.CallFault{}
	}})
	third := w.attempt("0000000c")
	third.mustPrepare(t)
	w.server.SetFaults(ecitest.Faults{})
	third.mustCleanup(t)
	w.awaitLive(t, 1)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.attempt("0000000d").stage(t, new(bytes.Buffer)).Prepare(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	fourth := w.attempt("0000000e")
	fourth.mustPrepare(t)
	if got := slotsOf(w.nasPaths(t)); got != "a0 a1 a2 a0" {
		t.Errorf("slots %s", got)
	}
	second.mustCleanup(t)
	fourth.mustCleanup(t)
}
