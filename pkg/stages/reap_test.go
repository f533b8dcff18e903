package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// Everything is judged by the server's clock, 20 minutes ahead of the groups; the
// host's own is days off.
func TestReapJudgesEachGroup(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.config.RunnerName = "12"
	ends := []string{"true"}
	tests := []struct {
		name   string
		tags   map[string]string
		ends   []string
		action string
		why    string
	}{
		{"running", nil, nil, "kept", "may run for"},
		{"expired", map[string]string{"expires-at": unix(14 * time.Minute)}, nil, "deleted", "expired"},
		{"just-expired", map[string]string{"expires-at": unix(16 * time.Minute)}, nil, "kept", "not yet 5m0s"},
		{"ended", nil, ends, "deleted", "ended"},
		{"anothers", map[string]string{"runner": "13", "expires-at": "1"}, nil, "kept", `of another runner: "13"`},
		{"without-expiry", map[string]string{"expires-at": ""}, nil, "kept", "expires-at is missing"},
		{"ended-without-attempt", map[string]string{"attempt": ""}, ends, "kept", "attempt is missing"},
		{"unreadable", map[string]string{"expires-at": "tomorrow"}, nil, "kept", `unreadable: "tomorrow"`},
		{"foreign", map[string]string{"managed-by": "somebody", "expires-at": "1"}, nil, "", ""},
	}
	ids := map[string]string{}
	for _, tt := range tests {
		command := tt.ends
		if command == nil {
			command = []string{"sleep", "600"}
		}
		ids[tt.name] = w.group(t, tt.name, tagsOf(tt.tags), command...)
	}
	out, err := w.reap(t, reaping{server: 9 * time.Minute, host: 100 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	row(t, out, ids["ended"], "kept", "ended")
	row(t, out, ids["expired"], "kept")
	if out, err = w.reap(t, reaping{server: 20 * time.Minute, host: -100 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if tt.action == "" {
			if strings.Contains(out, ids[tt.name]) {
				t.Errorf("%s is in the table", tt.name)
			}
			continue
		}
		row(t, out, ids[tt.name], tt.name, " "+tt.action+" ", tt.why)
	}
	row(t, out, "4 container groups left") // of ours: running, just-expired, and two that nobody can tell
	if deleted := w.calls()["DeleteContainerGroup"]; deleted != 2 {
		t.Errorf("%d deletes, want 2", deleted)
	}
	w.deleteAll(t)
}

// deleteAll ends what a test has left on purpose.
func (w *world) deleteAll(t *testing.T) {
	t.Helper()
	for _, id := range w.server.Live() {
		if err := w.client(t, w.server.URL()).DeleteContainerGroup(w.context(t), id, true); err != nil {
			t.Error(err)
		}
	}
}

func TestReapOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options stages.ReapOptions
		runner  string // runner_name of the driver's file
		noDate  bool
		want    []string // groups deleted
		says    string
		err     string
	}{
		{name: "this host's runner", runner: "12", want: []string{"old"}},
		{name: "nothing but tell", runner: "12", options: stages.ReapOptions{DryRun: true}, says: "would delete"},
		{name: "only old ones", runner: "12", options: stages.ReapOptions{OlderThan: 3 * time.Hour}, says: "not older than 3h0m0s"},
		{name: "old enough ones", runner: "12", options: stages.ReapOptions{OlderThan: time.Hour}, want: []string{"old"}},
		{name: "another runner's, told", runner: "12", options: stages.ReapOptions{Runner: "13"}, want: []string{"others"}},
		{name: "no runner known", says: "set runner_name in the driver's file, or name one with --runner"},
		{name: "no date", runner: "12", noDate: true, says: "the server's time is not known", err: "carries no Date"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.RunnerName = tt.runner
			ids := map[string]string{
				"old":    w.group(t, "old", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600"),
				"others": w.group(t, "others", tagsOf(map[string]string{"expires-at": "1", "runner": "13"}), "sleep", "600"),
			}
			out, err := w.reap(t, reaping{server: 2 * time.Hour, options: tt.options, noDate: tt.noDate})
			if tt.err == "" && err != nil {
				t.Fatal(err)
			}
			if tt.err != "" {
				wantError(t, err, tt.err)
			}
			if tt.says != "" {
				row(t, out, tt.says)
			}
			var deleted []string
			for _, c := range w.server.Calls() {
				if c.Action == "DeleteContainerGroup" {
					deleted = append(deleted, c.Params.Get("ContainerGroupId"))
				}
			}
			var want []string
			for _, name := range tt.want {
				want = append(want, ids[name])
			}
			if diff := cmp.Diff(want, deleted); diff != "" {
				t.Errorf("deleted (-want +got):\n%s", diff)
			}
			w.deleteAll(t)
		})
	}
}

// More groups than a page holds, and two hosts that reap at once: each delete may
// come second, and nobody takes that for a failure.
func TestReapOnTwoHostsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}})
	w.config.RunnerName = "12"
	for i := range 23 {
		w.group(t, fmt.Sprintf("ci-%d", i), tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	}
	endpoint := w.front(t, in(0)).url
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			config := *w.config
			config.StateDir = t.TempDir()
			var out bytes.Buffer
			reaper := stages.Reaper{Config: &config, API: w.client(t, endpoint), Clock: stages.SystemClock{}, Stdout: &out}
			if err := reaper.Reap(w.context(t), stages.ReapOptions{}); err != nil {
				t.Error(err)
			}
			row(t, out.String(), "0 container groups left")
		})
	}
	work.Wait()
	w.awaitNoGroups(t)
}

// What the listing said may be old by the time of the delete.
func TestReapReadsAgainBeforeItDeletes(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *world, *front)
		action string
		left   int
	}{
		{"deleted by another host", func(t *testing.T, w *world, _ *front) { w.deleteAll(t); w.awaitNoGroups(t) }, "gone", 0},
		{"not expired after all", func(_ *testing.T, _ *world, f *front) { f.date = in(-2 * time.Hour) }, "kept", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, ecitest.Options{})
			w.config.RunnerName = "12"
			id := w.group(t, "ci-1", tagsOf(map[string]string{"expires-at": unix(-time.Hour)}), "sleep", "600")
			f := w.front(t, in(0))
			listed := 0
			w.server.SetFaults(ecitest.Faults{Call: func(action string, _ int) ecitest.CallFault {
				if action == "DescribeContainerGroups" {
					if listed++; listed == 2 { // the first was the listing
						tt.change(t, w, f)
					}
				}
				return ecitest.CallFault{}
			}})
			var out bytes.Buffer
			reaper := stages.Reaper{Config: w.config, API: w.client(t, f.url), Clock: stages.SystemClock{}, Stdout: &out}
			if err := reaper.Reap(w.context(t), stages.ReapOptions{}); err != nil {
				t.Fatal(err)
			}
			row(t, out.String(), id, tt.action)
			row(t, out.String(), fmt.Sprintf("%d container groups left", tt.left))
			w.server.SetFaults(ecitest.Faults{})
			w.deleteAll(t)
		})
	}
}

// A reap in the middle of a job sees the job's group and leaves it and its record.
func TestReapBesideARunningJob(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := w.stateFiles(t, "*")
	out, err := w.reap(t, reaping{server: 12 * time.Minute, host: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	row(t, out, w.server.Live()[0], "kept", "may run for")
	after := w.stateFiles(t, "*")
	if diff := cmp.Diff(without(before, ".job.json"), without(after, ".job.json")); diff != "" {
		t.Errorf("state files (-before +after):\n%s", diff)
	}
	if log, err := w.run(t, "build_script", "echo still here"); err != nil || log != "still here\n" {
		t.Errorf("%q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A delete that fails is tried again by reap, which names both group and file.
func TestReapFailsAloud(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.config.RunnerName = "12"
	w.group(t, "ci-1", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	second := w.group(t, "ci-2", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action == "DeleteContainerGroup" && n == 0 {
			return ecitest.CallFault{Status: 403, Code: "Forbidden.RAM", Message: "not you"}
		}
		return ecitest.CallFault{}
	}})
	out, err := w.reap(t, reaping{})
	wantError(t, err, "may still be running", "Forbidden.RAM", "request id")
	row(t, out, "ci-1", "failed")
	row(t, out, second, "deleted")
	row(t, out, "1 container groups left")
	w.deleteAll(t)
}

// TestReapThatKnowsNoRunner: what it can't tell from its own it does not call gone.
func TestReapThatKnowsNoRunner(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	id := w.group(t, "ci-1", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	if err := os.MkdirAll(w.config.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(w.config.StateDir, "runners.json"), "damaged")
	out, err := w.reap(t, reaping{})
	wantError(t, err, "runners.json is damaged")
	row(t, out, id, "kept")
	row(t, out, "1 container groups left")
	w.deleteAll(t)
}

func TestReapInterrupted(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.config.RunnerName = "12"
	for i := range 3 {
		w.group(t, fmt.Sprintf("ci-%d", i), tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	told := errors.New("told to stop")
	w.server.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action == "DeleteContainerGroup" && n == 1 {
			cancel(told)
			return ecitest.CallFault{DelayAfter: time.Hour} // it leaves without the answer
		}
		return ecitest.CallFault{}
	}})
	var out bytes.Buffer
	reaper := stages.Reaper{Config: w.config, API: w.client(t, w.server.URL()), Clock: stages.SystemClock{}, Stdout: &out}
	if err := reaper.Reap(ctx, stages.ReapOptions{}); !errors.Is(err, told) {
		t.Errorf("error %v, want the cause", err)
	}
	row(t, out.String(), "ci-0", "deleted")
	row(t, out.String(), "ci-1", "failed")
	row(t, out.String(), "ci-2", "kept", "not come to")
	w.server.SetFaults(ecitest.Faults{})
	w.deleteAll(t)
}

// State files that serve nothing go, damaged ones and those in use stay.
func TestReapStateFiles(t *testing.T) {
	attempt := func(over, expires string) string {
		return fmt.Sprintf(`{"job": 1, "attempt": "0123abcd", "tags": {"managed-by": "eci-executor", "instance": "gitlab.example.com", "runner": "12", "attempt": "0123abcd"}%s%s}`, over, expires)
	}
	at := func(key string, d time.Duration) string {
		return fmt.Sprintf(`, %q: %q`, key, time.Now().Add(d).Format(time.RFC3339))
	}
	tests := []struct {
		name, text string
		old        bool
		action     string // "" = no word of it
		why        string
		stays      bool
	}{
		{name: "a-j1-a1.attempt.json", text: attempt("", at("expires", time.Hour)), stays: true},
		{name: "a-j2-a1.attempt.json", text: attempt("", at("expires", -6*time.Minute)), action: "removed", why: "cleanup was never called"},
		{name: "a-j3-a1.attempt.json", text: attempt("", at("expires", -4*time.Minute)), stays: true},
		{name: "a-j4-a1.attempt.json", text: attempt(at("over", -2*time.Hour), ""), action: "removed", why: "no group of it"},
		{name: "a-j5-a1.attempt.json", text: attempt(at("over", -2*time.Minute), ""), action: "kept", why: "may still come to light until", stays: true},
		{name: "a-j6-a1.attempt.json", text: `{"job": `, action: "kept", why: "damaged", stays: true},
		{name: "a-j7.job.json", text: `{}`, old: true, action: "removed", why: "of no use"},
		{name: "a-j8.job.json", text: `{}`, stays: true},
		{name: ".tmp-a-j9-a1.attempt-1", text: `{"params": {"p": "secret"}}`, old: true, action: "removed", why: "of no use"},
	}
	for _, dry := range []bool{true, false} {
		t.Run(fmt.Sprintf("dry run %v", dry), func(t *testing.T) {
			w := newWorld(t, ecitest.Options{})
			for _, tt := range tests {
				w.writeState(t, tt.name, tt.text)
				if tt.old {
					when := time.Now().Add(-48 * time.Hour)
					if err := os.Chtimes(filepath.Join(w.config.StateDir, tt.name), when, when); err != nil {
						t.Fatal(err)
					}
				}
			}
			out, err := w.reap(t, reaping{options: stages.ReapOptions{DryRun: dry}})
			if err != nil {
				t.Fatal(err)
			}
			for _, tt := range tests {
				action := tt.action
				if dry && action == "removed" {
					action = "would remove"
				}
				if action != "" {
					row(t, out, tt.name+" ", action, tt.why)
				} else if strings.Contains(out, tt.name) {
					t.Errorf("%s is spoken of", tt.name)
				}
				text, err := os.ReadFile(filepath.Join(w.config.StateDir, tt.name))
				if stays := tt.stays || dry; (err == nil) != stays {
					t.Errorf("%s: %v, want it to stay: %v", tt.name, err, stays)
				} else if dry && string(text) != tt.text {
					t.Errorf("%s was changed by a dry run: %s", tt.name, text)
				}
			}
			w.awaitNoGroups(t)
		})
	}
}

// Without state_dir, and without the right to it, groups are reaped all the same.
func TestReapWithoutState(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.config.RunnerName, w.config.StateDir = "12", filepath.Join(t.TempDir(), "absent")
	w.group(t, "ci-1", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	out, err := w.reap(t, reaping{})
	if err != nil {
		t.Fatal(err)
	}
	row(t, out, "0 container groups left")
	if _, err := os.Stat(w.config.StateDir); err == nil {
		t.Error("it made a state_dir")
	}
	w.config.StateDir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(w.config.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.group(t, "ci-2", tagsOf(map[string]string{"expires-at": "1"}), "sleep", "600")
	out, err = w.reap(t, reaping{})
	wantError(t, err, "state_dir")
	row(t, out, "ci-2", "deleted")
}

var _ stages.API = (*eci.Client)(nil)
