package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// slowBuild is a world in which an image is pulled until pulled is called, and then does
// not come where why is set.
func slowBuild(t testing.TB, allowed bool, image, why string) (w *world, pulled func()) {
	t.Helper()
	until := make(chan struct{})
	fault := ecitest.GroupFault{PullUntil: map[string]<-chan struct{}{image: until}}
	if why != "" {
		fault.Pull = map[string]string{image: why}
	}
	w = newWorld(t, ecitest.Options{Switches: ecitest.Switches{ExecAllowedWhilePending: allowed},
		Faults: ecitest.Faults{Group: func(int) ecitest.GroupFault { return fault }}})
	w.config.ImageCache.AutoMatch = false // or a second job would find one
	w.config.Timeouts.Ready = 2 * time.Minute
	return w, sync.OnceFunc(func() { close(until) })
}

// awaitRefusal waits until the host knows that a Pending group takes no exec, or the test is
// over.
func (w *world) awaitRefusal(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); t.Context().Err() == nil; time.Sleep(5 * time.Millisecond) {
		if known, _ := filepath.Glob(filepath.Join(w.config.StateDir, "pending-*.json")); len(known) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Error("no exec was refused")
			return
		}
	}
}

// prepareEarly prepares a job and tells the state of its build container then.
func (w *world) prepareEarly(t testing.TB) (build, log string) {
	t.Helper()
	log, err := w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	groups := w.server.Groups()
	return groups[len(groups)-1].Containers["build"], log
}

// told is a time that a script has told.
func told(t testing.TB, out, word string) time.Time {
	t.Helper()
	found := regexp.MustCompile(word + ` (\d+\.\d+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no %q in %q", word, out)
	}
	seconds, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(int64(seconds * 1e6))
}

// The clone runs while the build image is pulled where ECI takes an exec then, and
// after that where it refuses, without an error in the log; the host then knows it.
func TestBuildImageIsPulledMeanwhile(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprintf("exec allowed %v", allowed), func(t *testing.T) {
			t.Parallel()
			w, pulled := slowBuild(t, allowed, "host", "")
			build, log := w.prepareEarly(t)
			if build != "Waiting" || !strings.Contains(log, "is ready for the helper's scripts after") || !strings.Contains(log, "while the image host is pulled") {
				t.Errorf("prepare returned with build %s\n%s", build, log)
			}
			if !allowed {
				go func() { w.awaitRefusal(t); pulled() }()
			}
			sources, err := w.run(t, "get_sources", "echo begun $EPOCHREALTIME")
			if err != nil {
				t.Fatalf("%v\n%s", err, sources)
			}
			pulled()
			out, err := w.run(t, "build_script", "echo first $EPOCHREALTIME")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			all := sources + out
			for _, word := range []string{"ERROR", "lost", "IncorrectStatus", "refused"} {
				if strings.Contains(all, word) {
					t.Errorf("%q in the log:\n%s", word, all)
				}
			}
			if n := strings.Count(log+all, "build: Pulling image"); n != 1 {
				t.Errorf("the pull is told %d times:\n%s", n, log+all)
			}
			if !strings.Contains(all, "has all its containers") {
				t.Errorf("the log does not tell the wait:\n%s", all)
			}
			started, begun, first := w.server.Groups()[0].Started["build"], told(t, sources, "begun"), told(t, out, "first")
			if meanwhile := begun.Before(started); meanwhile != allowed || first.Before(started) {
				t.Errorf("the clone began at %s, build at %s, its script at %s", begun, started, first)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A host on which an exec was refused awaits the image of build in prepare.
func TestHostKnowsThatExecsAreRefused(t *testing.T) {
	t.Parallel()
	w, pulled := slowBuild(t, false, "host", "")
	w.prepareEarly(t)
	go func() { w.awaitRefusal(t); pulled() }()
	if out, err := w.run(t, "get_sources", "echo cloned"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.server.SetFaults(ecitest.Faults{Group: func(int) ecitest.GroupFault {
		return ecitest.GroupFault{PullTime: map[string]time.Duration{"host": 4 * time.Second}} // which is long enough to end a prepare
	}})
	second := w.another(t, 43)
	if build, log := second.prepareEarly(t); build != "Running" || !strings.Contains(log, "is ready after") {
		t.Errorf("the second prepare returned with build %s\n%s", build, log)
	}
	if err := second.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// An image that can't be pulled after prepare has returned ends the job with the words
// and the blame that prepare has for it, once.
func TestBuildImageFailsMeanwhile(t *testing.T) {
	t.Parallel()
	const absent = "registry.example.com/absent:1"
	tests := []struct {
		name    string
		allowed bool
		author  bool
	}{
		{"the author's image", true, true},
		{"the operator's image", true, false},
		{"the author's image, execs are refused", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, pulled := slowBuild(t, tt.allowed, absent, "manifest unknown: not found")
			w.job(t, map[string]any{"image": map[string]any{"name": absent}})
			if !tt.author {
				w.config.Build.Image = absent
				w.job(t, map[string]any{"image": map[string]any{"name": ""}})
			}
			if build, log := w.prepareEarly(t); build != "Waiting" {
				t.Fatalf("prepare returned with build %s\n%s", build, log)
			}
			if !tt.allowed {
				go func() { w.awaitRefusal(t); pulled() }()
			}
			out, err := w.run(t, "get_sources", "echo cloned")
			if tt.allowed {
				if err != nil || !strings.Contains(out, "cloned") {
					t.Fatalf("the clone: %v\n%s", err, out)
				}
				pulled()
				_, err = w.run(t, "build_script", "echo never")
			}
			whose := map[bool]string{true: "the job's author can do: correct the job's `image:`", false: "the runner's operator can do: correct image of [build]"}[tt.author]
			wantError(t, err, "the image "+absent+" of container build can't be pulled: registry.example.com does not have it", "ECI says: Failed to pull image", whose)
			if build := new(stages.BuildError); errors.As(err, &build) != tt.author {
				t.Errorf("a build failure: %v, want %v", !tt.author, tt.author)
			}
			calls := len(w.server.Calls())
			if _, err := w.run(t, "after_script", "echo never"); err == nil || strings.Contains(err.Error(), absent) {
				t.Errorf("after_script: %v", err)
			}
			if n := len(w.server.Calls()) - calls; n > 0 {
				t.Errorf("after_script made %d calls", n)
			}
			if tt.allowed {
				if out, err := w.run(t, "upload_artifacts_on_failure", "echo uploaded"); err != nil || !strings.Contains(out, "uploaded") {
					t.Errorf("what helper does after that: %v\n%s", err, out)
				}
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Where another pull policy is left, prepare waits for the image: what fails then is
// had in another group, before any script has run.
func TestPoliciesAreTriedByPrepare(t *testing.T) {
	t.Parallel()
	w, pulled := slowBuild(t, true, "host", "")
	until := make(chan struct{})
	w.server.SetFaults(ecitest.Faults{Group: func(n int) ecitest.GroupFault {
		if n == 0 {
			return ecitest.GroupFault{PullTime: map[string]time.Duration{"host": 4 * time.Second}, Pull: map[string]string{"host": "dial tcp 203.0.113.7:443: i/o timeout"}}
		}
		return ecitest.GroupFault{PullUntil: map[string]<-chan struct{}{"host": until}}
	}})
	pulled()
	w.job(t, map[string]any{"image": map[string]any{"name": "host", "pull_policy": []string{"always", "if-not-present"}}})
	build, log := w.prepareEarly(t)
	close(until)
	if !strings.Contains(log, "Trying again with the pull policy IfNotPresent for build") || w.calls()["CreateContainerGroup"] != 2 {
		t.Errorf("the next policy was not tried\n%s", log)
	}
	if build != "Waiting" { // of the second group, for which none is left
		t.Errorf("build is %s", build)
	}
	if out, err := w.run(t, "build_script", "echo built"); err != nil || !strings.Contains(out, "built") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A service whose image takes long is awaited by the first script of build.
func TestServiceIsPulledMeanwhile(t *testing.T) {
	t.Parallel()
	w, pulled := slowBuild(t, true, "user:1", "")
	w.job(t, map[string]any{"services": []map[string]any{{"name": "user:1", "command": []string{"sleep", "1000"}}}})
	if build, log := w.prepareEarly(t); build != "Running" || !strings.Contains(log, "while the image user:1 is pulled") {
		t.Fatalf("prepare returned with build %s\n%s", build, log)
	}
	if out, err := w.run(t, "get_sources", "echo cloned"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pulled()
	out, err := w.run(t, "build_script", "echo built $EPOCHREALTIME")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if g := w.server.Groups()[0]; g.Started["svc-0"].IsZero() || told(t, out, "built").Before(g.Started["svc-0"]) {
		t.Errorf("the script ran before the service had started at %s\n%s", g.Started["svc-0"], out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// Interrupted while it waits for the image of build, a script ends at once: there is
// nothing in the group to be stopped.
func TestWaitForTheBuildImageIsInterrupted(t *testing.T) {
	t.Parallel()
	w, pulled := slowBuild(t, true, "host", "")
	defer pulled()
	w.prepareEarly(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("interrupted by the test")) })
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, "echo never")
	calls := w.calls()["ExecContainerCommand"]
	wantError(t, w.stage(t, new(bytes.Buffer)).Run(ctx, script, "build_script"), "waiting for container group", "interrupted by the test")
	if n := w.calls()["ExecContainerCommand"] - calls; n > 0 {
		t.Errorf("%d execs", n)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// The exec that a job's stages share is the first that a Pending group refuses: the host
// knows it from prepare.
func TestSharedConnectionToAPendingGroup(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprintf("exec allowed %v", allowed), func(t *testing.T) {
			t.Parallel()
			w, pulled := slowBuild(t, allowed, "host", "")
			w.relay, w.remote = relaytest.Program, remote.DefaultSettings()
			w.config.Exec.SharedConnection = true
			t.Cleanup(func() { w.awaitNoRelay(t) })
			if build, log := w.prepareEarly(t); build != "Waiting" {
				t.Errorf("prepare returned with build %s\n%s", build, log)
			}
			if !allowed {
				w.awaitRefusal(t)
				pulled()
			}
			for _, stage := range []string{"get_sources", "build_script"} {
				if out, err := w.run(t, stage, "echo done"); err != nil || !strings.Contains(out, "done") {
					t.Errorf("%s: %v\n%s", stage, err, out)
				}
				pulled()
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
