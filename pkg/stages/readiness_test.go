package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// listening is a script that opens a port when a file is there, and says so first.
func listening(port int, when string) string {
	return fmt.Sprintf(`echo starting; until [ -e %s ]; do sleep 0.02; done
exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => %d, ReuseAddr => 1) or die "$!"; sleep 600'`, when, port)
}

// A job's first script waits until each service that has a health port has opened
// it, and no later one waits again. So it is under each profile.
func TestServicesAreAwaited(t *testing.T) {
	t.Parallel()
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			switches.ExecMaxSessions = 0 // the test's own exec and the stage
			servicesAreAwaited(t, newWorld(t, ecitest.Options{Switches: switches}))
		})
	}
}

func servicesAreAwaited(t *testing.T, w *world) {
	t.Helper()
	w.job(t, map[string]any{"services": []map[string]any{
		service("db", listening(7001, "/builds/go"), map[string]string{"HEALTHCHECK_TCP_PORT": "7001"}),
		service("cache", listening(7002, "/builds"), map[string]string{"HEALTHCHECK_TCP_PORT": "$PORT", "PORT": "7002"}),
		service("quiet", "sleep 600", nil)}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := w.run(t, "get_sources", "echo sources"); err != nil || out != "sources\n" {
		t.Errorf("a stage of helper: %v, %q", err, out)
	}
	file := filepath.Join(t.TempDir(), "script")
	write(t, file, "echo script\n")
	out := &waiter{text: "dialing localhost:7001...\n", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = struct{ *waiter }{out}
	done := make(chan error, 1)
	go func() { done <- stage.Run(w.context(t), file, "step_script") }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("it did not wait: %v\n%s", err, out)
	}
	w.inContainer(t, "db", "true >/builds/go")
	if err := <-done; err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.HasSuffix(out.String(), "dial succeeded on localhost:7002. Exiting...\nscript\n") || strings.Contains(out.String(), "WARNING") {
		t.Errorf("the log:\n%s", out)
	}
	if out, err := w.run(t, "after_script", "echo after"); err != nil || out != "after\n" {
		t.Errorf("after_script: %v, %q", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A service that is never ready fails the job with its log, and so does one that has
// ended; the job's own script does not run.
func TestServiceIsNeverReady(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script string
		variable     string // of the job
		ends         bool
		want         []string // of the error
	}{
		{"it has ended", "echo no such database >&2; exit 7", "", true,
			[]string{"service db (image host) did not open port 7001: it has ended with exit code 7", "its HEALTHCHECK_TCP_PORT"}},
		{"it listens elsewhere", "echo no such database; sleep 600", "", false,
			[]string{"service db (image host) did not open port 7001: [timeouts] ready is over"}},
		{"by a variable of the job", "echo no such database; sleep 600", "7001", false,
			[]string{"service db (image host) did not open port 7001: [timeouts] ready is over"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			other, own := map[string]string{"HEALTHCHECK_TCP_PORT": "7002"}, map[string]string{"HEALTHCHECK_TCP_PORT": "7001"}
			if tt.variable != "" {
				own, w.env.Custom["HEALTHCHECK_TCP_PORT"] = nil, tt.variable
			}
			w.job(t, map[string]any{"services": []map[string]any{service("cache", listening(7002, "/builds"), other), service("db", tt.script, own)}})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			w.serviceLog(t, "db", "no such database\n")
			w.await(t, "cache", 7002)
			if tt.ends {
				w.awaitContainerEnd(t, "db")
			}
			file := filepath.Join(t.TempDir(), "script")
			write(t, file, "echo script")
			tries := &waiter{text: "dialing localhost:7001...\n", seen: make(chan struct{})}
			stage := w.stage(t, new(bytes.Buffer))
			stage.Stdout, stage.Clock = struct{ *waiter }{tries}, outOfTime{after: w.config.Timeouts.Ready, when: tries.seen}
			err := stage.Run(w.context(t), file, "step_script")
			out := tries.String()
			wantError(t, err, tt.want...)
			var build *stages.BuildError
			if !errors.As(err, &build) || strings.Contains(err.Error(), "cache") {
				t.Errorf("%T %v, want a build failure that names db alone", err, err)
			}
			for text, n := range map[string]int{"*** WARNING:\x1b[0;m Service db probably didn't start properly.": 1, "Service container logs:\nno such database\n": 1, "script\n": 0, "Service cache": 0} {
				if strings.Count(out, text) != n {
					t.Errorf("%q is not there %d times:\n%s", text, n, out)
				}
			}
			if out, err := w.run(t, "after_script", "echo after"); err != nil || out != "after\n" {
				t.Errorf("after_script waits again, or tells again: %v\n%s", err, out)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// outOfTime is a clock on which one time is over when something has happened.
type outOfTime struct {
	stages.SystemClock
	after time.Duration
	when  <-chan struct{}
}

func (c outOfTime) After(d time.Duration) <-chan time.Time {
	if d != c.after {
		return c.SystemClock.After(d)
	}
	over := make(chan time.Time, 1)
	go func() { <-c.when; over <- time.Now() }()
	return over
}

// await waits until a service listens.
func (w *world) await(t *testing.T, service string, port int) {
	t.Helper()
	w.inContainer(t, service, fmt.Sprintf(`bash -c 'until (: </dev/tcp/127.0.0.1/%d) 2>/dev/null; do sleep 0.02; done'`, port))
}

// A job that is stopped while it waits is no build failure.
func TestStopWhileServicesAreAwaited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"services": []map[string]any{service("db", "sleep 600", map[string]string{"HEALTHCHECK_TCP_PORT": "7001"})}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "script")
	write(t, file, "echo script\n")
	out := &waiter{text: "dialing", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = struct{ *waiter }{out}
	ctx, stop := context.WithCancel(w.context(t))
	defer stop()
	go func() { <-out.seen; stop() }()
	err := stage.Run(ctx, file, "step_script")
	var build *stages.BuildError
	if err == nil || errors.As(err, &build) {
		t.Errorf("%T %v, want a system failure", err, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
