package stages_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// A person follows a stage's log, another is killed while doing so, and the stage
// notices nothing: its own log and status are exact, with one exec. So it is under
// each profile.
func TestLogs(t *testing.T) {
	t.Parallel()
	// It goes on when both have read, and one of them is gone.
	const script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); [ $((i%10)) = 0 ] && sleep 0.03; " +
		"[ $i = 100 ] && until [ -e /builds/go ]; do sleep 0.02; done; done; exit 3"
	_, whole := numbered(300)
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			switches.ExecMaxSessions = 0 // the two readers and the stage
			w := newWorld(t, ecitest.Options{Switches: switches})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			file := t.TempDir() + "/script"
			write(t, file, script)
			own := &waiter{text: "line 20\n", seen: make(chan struct{})}
			stage := w.stage(t, new(bytes.Buffer))
			stage.Stdout = own
			ended := make(chan error, 1)
			go func() { ended <- stage.Run(w.context(t), file, "build_script") }()
			own.await(t, ended)

			killed, kill := context.WithCancel(w.context(t))
			var notes bytes.Buffer
			gone, goneErr := w.follow(t, killed, new(bytes.Buffer))
			reader, readerErr := w.follow(t, w.context(t), &notes)
			gone.await(t, goneErr)
			reader.await(t, readerErr)
			kill()
			if err := <-goneErr; !errors.Is(err, context.Canceled) {
				t.Errorf("a killed reader: %v", err)
			}
			w.inBuild(t, "true >/builds/go")

			err = <-ended
			var build *stages.BuildError
			if !errors.As(err, &build) || build.Status != 3 || own.String() != whole {
				t.Errorf("the stage: %v, %d bytes of log, want %d", err, own.Len(), len(whole))
			}
			if err := <-readerErr; err != nil {
				t.Errorf("a reader: %v\n%s", err, &notes)
			}
			if reader.String() != whole {
				t.Errorf("a reader has %d bytes, want %d", reader.Len(), len(whole))
			}
			for _, text := range []string{"Log of build_script, in build:", "ended with exit status 3", "Started container build"} {
				if !strings.Contains(notes.String(), text) {
					t.Errorf("%q is not told:\n%s", text, &notes)
				}
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// follow is a person who follows the log of the only job: what is read, and how it ends.
func (w *world) follow(t *testing.T, ctx context.Context, notes *bytes.Buffer) (*waiter, <-chan error) {
	t.Helper()
	out := &waiter{text: "line 50\n", seen: make(chan struct{})}
	o := w.operator(t, new(bytes.Buffer), notes)
	o.Stdout = out
	done := make(chan error, 1)
	go func() { done <- o.Logs(ctx, "42", stages.LogOptions{Follow: true}) }()
	return out, done
}

// Without --follow the log is shown as far as it goes, also after its stage; a
// container's own log is ECI's.
func TestLogsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	logs := func(name string, options stages.LogOptions) (string, string, error) {
		var out, notes bytes.Buffer
		err := w.operator(t, &out, &notes).Logs(w.context(t), name, options)
		return out.String(), notes.String(), err
	}
	_, _, err := logs("42", stages.LogOptions{})
	wantError(t, err, "no script has run in this container group yet")
	_, _, err = logs("43", stages.LogOptions{})
	wantError(t, err, `no container group of eci-executor in ap-northeast-1 has the job id, group id or name "43"`)
	_, _, err = logs("42", stages.LogOptions{Container: "nope"})
	wantError(t, err, `has no container "nope", but helper, build`)

	end := w.holdStage(t, "build_script", "echo one")
	id := w.server.Live()[0]
	for _, name := range []string{"42", id, "ci-12-p7-j42-a0123abcd"} {
		out, notes, err := logs(name, stages.LogOptions{})
		if err != nil || out != "one\nready\n" || !strings.Contains(notes, "The stage runs on") {
			t.Errorf("%s: %v, %q\n%s", name, err, out, notes)
		}
	}
	end()
	if out, notes, err := logs("42", stages.LogOptions{}); err != nil || out != "one\nready\nend\n" || !strings.Contains(notes, "Log of the newest stage, in build:") {
		t.Errorf("%v, %q\n%s", err, out, notes)
	}
	if out, notes, err := logs("42", stages.LogOptions{Container: "build"}); err != nil || !strings.Contains(notes, id) {
		t.Errorf("%v, %q\n%s", err, out, notes)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A service's log comes from ECI, and --follow ends with the container.
func TestLogsOfAService(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"services": []map[string]any{{"name": "host", "alias": "db",
		"command": []string{"sh", "-c", "echo up; until [ -e /tmp/go ]; do sleep 0.05; done; echo down"}, "entrypoint": []string{}}}})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := &waiter{text: "up\n", seen: make(chan struct{})}
	o := w.operator(t, new(bytes.Buffer), nil)
	o.Stdout, o.Clock = struct{ io.Writer }{out}, hasty{} // a waiter sees no WriteString
	done := make(chan error, 1)
	go func() { done <- o.Logs(w.context(t), "42", stages.LogOptions{Follow: true, Container: "db"}) }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatal(err)
	}
	w.inContainer(t, "db", "true >/tmp/go")
	if err := <-done; err != nil || out.String() != "up\ndown\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// hasty is a clock on which pauses are short.
type hasty struct{ stages.SystemClock }

func (hasty) After(d time.Duration) <-chan time.Time { return time.After(d / 50) }

// Of an ended group one sentence says what is left to see; of several groups of a
// job the one that lives is meant, and otherwise they are listed.
func TestLogsOfEndedGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	logs := func(name string, options stages.LogOptions) (string, error) {
		var out bytes.Buffer
		err := w.operator(t, &out, nil).Logs(w.context(t), name, options)
		return out.String(), err
	}
	for _, stage := range []string{"get_sources", "build_script"} { // after which each PID 1 heeds a TERM
		if _, err := w.run(t, stage, "true"); err != nil {
			t.Fatal(err)
		}
	}
	first := w.server.Live()[0]
	w.env.Attempt = "0123abce"
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, err := logs("42", stages.LogOptions{})
	wantError(t, err, `"42" may be any of these container groups`, "\n  "+first+"  ci-12-p7-j42-a0123abcd  Running  created ", "of runner 12 of gitlab.example.com")
	w.inContainerOf(t, first, "build", "kill -s TERM 1")
	w.inContainerOf(t, first, "helper", "kill -s TERM 1")
	w.awaitStatus(t, first, "Failed")
	if _, err := w.run(t, "build_script", "echo second"); err != nil {
		t.Error(err)
	}
	if out, err := logs("42", stages.LogOptions{}); err != nil || out != "second\n" {
		t.Errorf("%v, %q", err, out)
	}
	_, err = logs(first, stages.LogOptions{})
	wantError(t, err, "container group "+first+" has ended (status Failed: helper terminated", "--container NAME shows")
	for _, attempt := range []string{"0123abcd", "0123abce"} {
		w.env.Attempt = attempt
		if err := w.cleanup(t); err != nil {
			t.Fatal(err)
		}
	}
}
