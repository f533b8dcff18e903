package stages_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// newSyncWorld is one whose WebSocket host nobody reaches, and whose driver knows.
func newSyncWorld(t testing.TB, options ecitest.Options) *world {
	w := newWorld(t, options)
	w.config.Exec.Transport = "sync"
	return w
}

// What runs scripts must hold without a WebSocket too, whatever ECI is like.
func TestSyncProfiles(t *testing.T) {
	t.Parallel()
	apply := map[string]bool{"a log and a status": true, "all sub-stages": true, "a large script": true, "no secret leaves the stream": true,
		"a stop": true, "the death of build": true, "a spot instance reclaimed": true}
	for _, profile := range ecitest.Profiles() {
		switches, err := ecitest.Profile(profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range core() {
			if !apply[tt.name] {
				continue
			}
			t.Run(profile+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				w := newSyncWorld(t, ecitest.Options{Switches: switches})
				tt.test(t, w)
				if _, sockets := w.execs(); sockets != 0 {
					t.Errorf("%d execs by a WebSocket", sockets)
				}
			})
		}
	}
}

// execs counts Sync execs and others.
func (w *world) execs() (sync, sockets int) {
	for _, c := range w.server.Calls() {
		switch {
		case c.Action != "ExecContainerCommand":
		case c.All().Get("Sync") == "true":
			sync++
		default:
			sockets++
		}
	}
	return sync, sockets
}

func TestSyncEitherWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		switches ecitest.Switches
	}{
		{"an exit status is an error", ecitest.Switches{ExecSyncExitError: "InternalError"}},
		{"answers are cut at 50 KB", ecitest.Switches{ExecSyncBytes: 50_000}},
		{"answers are cut at 20 KB", ecitest.Switches{ExecSyncBytes: 20_000}},
		{"an exec may take 50 ms", ecitest.Switches{ExecSyncLimit: 50 * time.Millisecond}},
		{"commands are bounded", ecitest.Switches{ExecCommandBytes: 2048}},
		{"commands are not bounded", ecitest.Switches{ExecLongCommandAllowed: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSyncWorld(t, ecitest.Options{Switches: tt.switches})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("prepare: %v\n%s", err, out)
			}
			log, err := w.run(t, "build_script", "seq 20000; exit 3")
			var build *stages.BuildError
			if !errors.As(err, &build) || build.Status != 3 || strings.Count(log, "\n") != 20_000 || !strings.HasSuffix(log, "\n20000\n") {
				t.Errorf("%d bytes of log, %v", len(log), err)
			}
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// A job without a WebSocket comes through each of these with its exact log and status.
func TestSyncFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rule string
	}{
		{"500", "error=500"},
		{"503", "error=503"},
		{"throttled", "error=Throttling.User"},
		{"cut before it took effect", "cut=before"},
		{"cut after it took effect", "cut=after"},
		{"answers cut to nothing", "truncate=0"},
		{"answers cut short", "truncate=100"},
		{"slow", "delay=100ms,delay-after=100ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rule := "ExecContainerCommand:" + tt.rule
			// The first exec sends half of the script, the next one starts it.
			w := newSyncWorld(t, ecitest.Options{Faults: faults(t, rule+",times=1", rule+",skip=2,times=1", rule+",skip=4,times=1", rule+",skip=5,probability=0.3")})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("prepare: %v\n%s", err, out)
			}
			script, want := numbered(500)
			script = strings.Replace(script, "done;", "[ $((i % 100)) = 0 ] && sleep 0.5; done;", 1)
			log, err := w.run(t, "build_script", script+" # "+strings.Join(words(400), " "))
			var build *stages.BuildError
			if !errors.As(err, &build) || build.Status != 3 || log != want {
				t.Errorf("%d bytes of log, want %d, error %v", len(log), len(want), err)
			}
			if sync, _ := w.execs(); sync < 5 {
				t.Errorf("%d execs: the faults did not strike", sync)
			}
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// words are text that no compression makes much smaller.
func words(n int) (words []string) {
	for i := range n {
		words = append(words, fmt.Sprintf("%x", uint32(i)*2654435761))
	}
	return words
}

func TestSyncScriptTooLarge(t *testing.T) {
	w := newSyncWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, err := w.run(t, "build_script", ": "+strings.Join(words(40_000), "\n: "))
	wantError(t, err, "too large to be sent without a WebSocket", "reach the WebSocket host")
	if _, ok := errors.AsType[*stages.BuildError](err); ok {
		t.Error("a script that can't be sent counts as the job's failure")
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
}

// runAt is run by a clock that is ahead. What the driver says comes before the log.
func (w *world) runAt(t *testing.T, ahead time.Duration, subStage, script string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	write(t, file, script)
	var out, told bytes.Buffer
	stage := w.stage(t, &out)
	stage.Clock, stage.Stderr = skewed{by: ahead}, &told
	err := stage.Run(w.context(t), file, subStage)
	return told.String() + out.String(), err
}

// Where the WebSocket host can't be dialled, a job changes to Sync execs and says so
// once; the host's other jobs begin with them, for a day.
func TestFallback(t *testing.T) {
	t.Parallel()
	const told = "can't be reached from the runner's host"
	w := newWorld(t, ecitest.Options{Faults: faults(t, "exec:unreachable")})
	second, served := w.another(t, 43), w.another(t, 45)
	served.job(t, map[string]any{"id": 45, "services": []map[string]any{
		service("db", listening(7001, "/builds"), map[string]string{"HEALTHCHECK_TCP_PORT": "7001"})}})
	for _, v := range []*world{w, second, served} {
		if out, err := v.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	steps := []struct {
		name    string
		world   *world
		ahead   time.Duration
		told    bool
		sockets int // dialled
	}{
		{"the first stage", w, 0, true, 2},
		{"the next one", w, 0, false, 0},
		{"another job", second, time.Hour, true, 0},
		{"its next stage", second, time.Hour, false, 0},
		{"a job whose first stage runs two scripts", served, time.Hour, true, 0},
		{"the first job, a day later", w, 25 * time.Hour, false, 0},
	}
	for _, s := range steps {
		_, before := w.execs()
		log, err := s.world.runAt(t, s.ahead, "build_script", "echo log; exit 0")
		if err != nil || !strings.HasSuffix(log, "log\n") || strings.Count(log, told) != map[bool]int{true: 1}[s.told] {
			t.Errorf("%s: log %q, %v, want it told: %t", s.name, log, err, s.told)
		}
		if _, after := w.execs(); after-before != s.sockets {
			t.Errorf("%s: dialled %d times, want %d", s.name, after-before, s.sockets)
		}
	}
	notes, _ := filepath.Glob(filepath.Join(w.config.StateDir, "unreached-*.json"))
	if len(notes) != 1 {
		t.Fatalf("notes %v", notes)
	}
	if info, err := os.Stat(notes[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	w.server.SetFaults(ecitest.Faults{})
	third := w.another(t, 44)
	if out, err := third.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sync, _ := w.execs()
	if log, err := third.runAt(t, 25*time.Hour, "build_script", "echo log"); err != nil || log != "log\n" {
		t.Errorf("a day later: log %q, %v", log, err)
	}
	if now, _ := w.execs(); now != sync {
		t.Error("a day later the WebSocket was not tried again")
	}
	for _, v := range []*world{w, second, served, third} {
		if err := v.cleanup(t); err != nil {
			t.Error(err)
		}
	}
}

// TestOutage: a WebSocket host that this host reaches is awaited for a minute where it
// fails, and tried again soon: what passes must not have all jobs of a day go by Sync execs.
func TestOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	second, third := w.another(t, 43), w.another(t, 44)
	for _, v := range []*world{w, second, third} {
		if out, err := v.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	steps := []struct {
		name  string
		world *world
		fault string
		quick time.Duration // 0 = a clock that is ahead
		ahead time.Duration
		sync  bool
	}{
		{"all is well", w, "", 1, 0, false},
		{"a short outage", w, "exec:unreachable,times=4", 1, 0, false},
		{"a longer one", w, "exec:unreachable", 200, 0, true},
		{"the job's next stage", w, "", 1, 0, true},
		{"another job", second, "", 0, 4 * time.Minute, true},
		{"a third one, later", third, "", 0, 20 * time.Minute, false},
	}
	for _, s := range steps {
		var texts []string
		if s.fault != "" {
			texts = append(texts, s.fault)
		}
		w.server.SetFaults(faults(t, texts...))
		before, _ := w.execs()
		script := filepath.Join(t.TempDir(), "script")
		write(t, script, "echo log")
		var out bytes.Buffer
		stage := s.world.stage(t, &out)
		stage.Clock = quickClock{time.Now(), s.quick}
		if s.quick == 0 {
			stage.Clock = skewed{by: s.ahead}
		}
		if err := stage.Run(w.context(t), script, "build_script"); err != nil || out.String() != "log\n" {
			t.Errorf("%s: log %q, error %v", s.name, out.String(), err)
		}
		if after, _ := w.execs(); (after > before) != s.sync {
			t.Errorf("%s: %d Sync execs", s.name, after-before)
		}
	}
	for _, v := range []*world{w, second, third} {
		if err := v.cleanup(t); err != nil {
			t.Error(err)
		}
	}
}

// These are no reason to give the WebSocket up.
func TestNoFallback(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, transport, rules string }{
		{"one dial failed", "auto", "exec:unreachable,times=1"},
		{"dials failed, not in a row", "auto", "exec:unreachable,times=1; exec:drop=50,skip=1,times=1; exec:unreachable,skip=2,times=1"},
		{"the host refuses", "auto", "exec:refuse,times=3"},
		{"the API refuses", "auto", "ExecContainerCommand:error=503,times=3"},
		{"it is ruled out", "websocket", "exec:unreachable,times=4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: faults(t, strings.Split(tt.rules, "; ")...)})
			w.config.Exec.Transport = tt.transport
			w.lifecycle(t)
			if sync, _ := w.execs(); sync != 0 {
				t.Errorf("%d Sync execs", sync)
			}
		})
	}
}

// What a job costs without a WebSocket, by the clock of the cloud and with scripts of
// the size that the runner makes.
func TestSyncExecsOfAJob(t *testing.T) {
	t.Parallel()
	w := newSyncWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	turns := 0
	began := time.Now()
	for i, stage := range []string{"prepare_script", "get_sources", "restore_cache", "build_script", "after_script", "archive_cache"} {
		script, err := os.ReadFile("../../testdata/demo/build/03-build_script.sh")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "script")
		write(t, file, fmt.Sprintf("echo %d; exit 0\n%s", i, script))
		var out bytes.Buffer
		s := w.stage(t, &out)
		s.Remote = remote.DefaultSettings()
		s.Rates = func(action string) stages.Rate {
			if action == "ExecContainerCommand" {
				turns++
			}
			return stages.HostRate(action)
		}
		if err := s.Run(w.context(t), file, stage); err != nil || out.String() != fmt.Sprintf("%d\n", i) {
			t.Errorf("%s: log %q, %v", stage, out.String(), err)
		}
	}
	sync, _ := w.execs()
	t.Logf("6 sub-stages in %s, %d Sync execs", time.Since(began).Round(time.Millisecond), sync)
	if sync > 24 { // three each, and a fourth where a busy machine's log and end come one after the other
		t.Errorf("%d Sync execs for 6 sub-stages", sync)
	}
	if turns < sync {
		t.Errorf("%d Sync execs at %d turns among the host's", sync, turns)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
}
