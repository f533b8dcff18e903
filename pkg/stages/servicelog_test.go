package stages_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// A service that ends early is told with its exit code and its log, in the log of
// the stage that runs or comes next, and once.
func TestServiceEndIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.job(t, map[string]any{"services": []map[string]any{
		service("db", "echo working; until [ -e /builds/go ]; do sleep 0.02; done; echo no space >&2; exit 7", nil),
		service("once", "echo once; exit 0", nil), service("lives", "echo lives; sleep 600", nil)}})
	out, err := w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.serviceLog(t, "once", "once\n")
	w.awaitContainerEnd(t, "once")
	said := out
	for _, s := range []step{{"get_sources", "true"}, {"step_script", "true"}} {
		out, err = w.run(t, s.stage, s.script)
		if said += out; err != nil {
			t.Error(err)
		}
	}
	if strings.Count(said, "Service once (image host) has ended (exit code 0)\n\x1b[0;37m[service:once] once\x1b[0;m\n") != 1 || strings.Contains(said, "Service db") {
		t.Errorf("the log:\n%s", said)
	}
	w.inContainer(t, "build", "true >/builds/go")
	w.awaitContainerEnd(t, "db")
	out, err = w.run(t, "after_script", "true")
	want := "Service db (image host) has ended (exit code 7)\n\x1b[0;37m[service:db] working\x1b[0;m\n\x1b[0;37m[service:db] no space\x1b[0;m\n"
	if err != nil || out != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
	if out, err := w.run(t, "after_script", "true"); err != nil || out != "" {
		t.Errorf("told again: %v, %q", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// With CI_DEBUG_SERVICES each stage's log ends with what is new in the services'
// logs. Nothing of them is left in state_dir.
func TestServiceLogsAreShown(t *testing.T) {
	t.Parallel()
	t.Run("of all", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ecitest.Options{})
		w.env.Custom["CI_DEBUG_SERVICES"] = "true"
		serviceLogsAreShown(t, w, nil)
	})
	t.Run("of one", func(t *testing.T) {
		t.Parallel()
		serviceLogsAreShown(t, newWorld(t, ecitest.Options{}), map[string]string{"CI_DEBUG_SERVICES": "true"})
	})
}

func serviceLogsAreShown(t *testing.T, w *world, variables map[string]string) {
	w.job(t, map[string]any{"services": []map[string]any{
		service("db", `echo one; until [ -e /builds/go ]; do sleep 0.02; done; echo two; printf 'half a line'; until [ -e /builds/end ]; do sleep 0.02; done; exit 3`, variables)}})
	out, err := w.prepare(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.serviceLog(t, "db", "one\n")
	said := out
	if out, err = w.run(t, "step_script", "echo script"); err != nil {
		t.Error(err)
	}
	if said += out; strings.Count(said, "\x1b[0;37m[service:db] one\x1b[0;m\n") != 1 {
		t.Errorf("the first line:\n%s", said)
	}
	w.inContainer(t, "build", "true >/builds/go")
	w.serviceLog(t, "db", "half a line")
	if out, err = w.run(t, "step_release", "echo release"); err != nil || out != "release\n\x1b[0;37m[service:db] two\x1b[0;m\n" {
		t.Errorf("the second line: %v, %q", err, out)
	}
	for _, name := range w.stateFiles(t, "*") {
		if text, err := os.ReadFile(filepath.Join(w.config.StateDir, name)); err != nil || strings.Contains(string(text), "two") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	w.inContainer(t, "build", "true >/builds/end")
	w.awaitContainerEnd(t, "db")
	if out, err = w.run(t, "after_script", "true"); err != nil || out != "\x1b[0;37m[service:db] half a line\x1b[0;m\nService db (image host) has ended (exit code 3)\n" {
		t.Errorf("the end: %v, %q", err, out)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A refused log is no failure of the stage, whoever refuses it.
func TestServiceLogIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
		rule     string
	}{
		{"not allowed", ecitest.Switches{}, "DescribeContainerLog:error=403/NoPermission"},
		{"gone with its container", ecitest.Switches{LogGoneWithContainer: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: tt.switches})
			w.job(t, map[string]any{"services": []map[string]any{service("db", "until [ -e /builds/go ]; do sleep 0.02; done; exit 7", nil)}})
			w.mustPrepare(t)
			if tt.rule != "" {
				w.server.SetFaults(faults(t, tt.rule))
			}
			w.inContainer(t, "build", "true >/builds/go")
			w.awaitContainerEnd(t, "db")
			out, err := w.run(t, "step_script", "echo script")
			if err != nil || !strings.Contains(out, "script\nService db (image host) has ended (exit code 7)\n") || !strings.Contains(out, "(the log can't be read: ") {
				t.Errorf("%v\n%s", err, out)
			}
			w.mustCleanup(t)
		})
	}
}
