package stages_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// shared is a world whose stages share an exec, with the driver's own times: those of
// the relay are not scaled.
func shared(t testing.TB, options ecitest.Options) *world {
	t.Helper()
	w := newWorld(t, options)
	w.relay, w.remote = relaytest.Program, remote.DefaultSettings()
	w.config.Exec.SharedConnection = true
	t.Cleanup(func() { w.awaitNoRelay(t) })
	return w
}

// theRelay is the pid of the only one, once there is one.
func (w *world) theRelay(t testing.TB) int {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if pids := relaytest.Running(w.config.StateDir); len(pids) == 1 {
			return pids[0]
		}
	}
	t.Fatalf("the relays %v run, want one", relaytest.Running(w.config.StateDir))
	return 0
}

func (w *world) awaitNoRelay(t testing.TB) {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if len(relaytest.Running(w.config.StateDir)) == 0 {
			return
		}
	}
	left := relaytest.Running(w.config.StateDir)
	t.Errorf("relays %v are left", left)
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // a stopped one does not end with its socket
	}
}

// One call of ExecContainerCommand carries a job's stages, in helper and build.
func TestSharedConnection(t *testing.T) {
	t.Parallel()
	w := shared(t, ecitest.Options{})
	jobByHand(t, w)
	if n := w.calls()["ExecContainerCommand"]; n != 1 {
		t.Errorf("%d calls of ExecContainerCommand, want 1", n)
	}
	relayIsAlone(t, w)
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	w.awaitNoRelay(t)
	if left, _ := filepath.Glob(filepath.Join(w.config.StateDir, "relay", "*")); len(left) > 0 {
		t.Errorf("cleanup left %v", left)
	}
	w.awaitNoGroups(t)
}

// relayIsAlone: it has nothing of the stage that has started it, and lets nobody else in.
func relayIsAlone(t *testing.T, w *world) {
	t.Helper()
	pid := w.theRelay(t)
	proc := func(name string) string { return filepath.Join("/proc", fmt.Sprint(pid), name) }
	stat, err := os.ReadFile(proc("stat"))
	if words := strings.Fields(string(stat)); err != nil || len(words) < 6 || words[5] != fmt.Sprint(pid) {
		t.Errorf("it has not a session of its own: %s, %v", stat, err)
	}
	if cwd, err := os.Readlink(proc("cwd")); err != nil || cwd != "/" {
		t.Errorf("it works in %s, %v", cwd, err)
	}
	entries, err := os.ReadDir(proc("fd"))
	if err != nil || len(entries) < 4 {
		t.Errorf("its descriptors: %d, %v", len(entries), err)
	}
	for _, e := range entries {
		target, err := os.Readlink(proc("fd/" + e.Name()))
		switch {
		case err != nil: // closed just now
		case e.Name() <= "2" && len(e.Name()) == 1:
			if target != os.DevNull {
				t.Errorf("descriptor %s is %s", e.Name(), target)
			}
		case strings.HasPrefix(target, "/sys/fs/cgroup/"): // Go's runtime
		case !strings.HasPrefix(target, "socket:") && !strings.HasPrefix(target, "anon_inode:[event"):
			t.Errorf("it has %s open", target)
		}
	}
	for _, name := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile(proc(name))
		if err != nil || bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("token")) || bytes.Contains(text, []byte("PATH=")) {
			t.Errorf("its %s: %q, %v", name, text, err)
		}
	}
	memory, err := os.ReadFile(proc("smaps_rollup"))
	_, anonymous, found := strings.Cut(string(memory), "Anonymous:")
	t.Logf("memory of its own: %s, %t, %v", strings.TrimSpace(strings.SplitN(anonymous, "\n", 2)[0]), found, err)
	sockets, _ := filepath.Glob(filepath.Join(w.config.StateDir, "relay", "*"))
	if len(sockets) != 1 {
		t.Fatalf("sockets: %v", sockets)
	}
	for path, mode := range map[string]os.FileMode{sockets[0]: 0o600, filepath.Dir(sockets[0]): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

// A relay that is gone or wedged, before a stage or in its middle, costs it nothing but
// an exec of its own, and a later stage has another relay.
func TestSharedConnectionIsLost(t *testing.T) {
	t.Parallel()
	signal := func(s syscall.Signal) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			if err := syscall.Kill(w.theRelay(t), s); err != nil {
				t.Error(err)
			}
		}
	}
	tests := []struct {
		name    string
		lose    func(t *testing.T, w *world)
		between bool // not while a script runs
	}{
		{"killed between stages", signal(syscall.SIGKILL), true},
		{"killed", signal(syscall.SIGKILL), false},
		{"ended", signal(syscall.SIGTERM), false},
		{"stopped between stages", signal(syscall.SIGSTOP), true},
		{"stopped", signal(syscall.SIGSTOP), false},
		{"its socket is deleted", func(t *testing.T, w *world) {
			if err := os.RemoveAll(filepath.Join(w.config.StateDir, "relay")); err != nil {
				t.Error(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := shared(t, ecitest.Options{})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if tt.between {
				tt.lose(t, w)
			}
			out, err := w.runMeanwhile(t, "echo begun; while [ ! -e /cache/go ]; do sleep 0.05; done; seq 3; exit 6", func() {
				if !tt.between {
					tt.lose(t, w)
				}
				write(t, filepath.Join(w.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), "go"), "")
			})
			wantError(t, err, "6")
			if out != "begun\n1\n2\n3\n" {
				t.Errorf("log %q", out)
			}
			w.shareAgain(t)
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// shareAgain runs stages until one needs no exec of its own.
func (w *world) shareAgain(t *testing.T) {
	t.Helper()
	for range 10 {
		before := w.calls()["ExecContainerCommand"]
		if log, err := w.run(t, "build_script", "echo more"); err != nil || log != "more\n" {
			t.Fatalf("log %q, error %v", log, err)
		}
		if w.calls()["ExecContainerCommand"] == before {
			return
		}
	}
	t.Error("no exec is shared again")
}

// runMeanwhile runs a script in build and does something once it has begun.
func (w *world) runMeanwhile(t *testing.T, script string, do func()) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	write(t, file, script)
	out := &waiter{text: "begun\n", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	ended := make(chan error, 1)
	go func() { ended <- stage.Run(w.context(t), file, "build_script") }()
	select {
	case <-out.seen:
		do()
	case err := <-ended:
		t.Errorf("it ended before it began: %v", err)
		return out.String(), err
	}
	err := <-ended
	return out.String(), err
}

// A prepare that comes again to an attempt ends the relay of the one before, be it stopped.
func TestSharedConnectionOfAnAttemptPreparedAgain(t *testing.T) {
	t.Parallel()
	w := shared(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first := w.theRelay(t)
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if second := w.theRelay(t); second == first {
		t.Error("the stopped relay is still the attempt's")
	}
	if log, err := w.run(t, "build_script", "echo more"); err != nil || log != "more\n" {
		t.Errorf("log %q, error %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
	w.awaitNoRelay(t)
	w.awaitNoGroups(t)
}

// A stage beside one that has the shared exec makes one call, for an exec of its own, and
// the relay stays as it is.
func TestSharedConnectionIsBusy(t *testing.T) {
	t.Parallel()
	w := shared(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first := w.theRelay(t)
	_, err := w.runMeanwhile(t, "echo begun; while [ ! -e /cache/go ]; do sleep 0.05; done; exit 6", func() {
		before := w.calls()["ExecContainerCommand"]
		if log, err := w.run(t, "get_sources", "echo beside"); err != nil || log != "beside\n" {
			t.Errorf("log %q, error %v", log, err)
		}
		if n := w.calls()["ExecContainerCommand"] - before; n != 1 {
			t.Errorf("%d calls of ExecContainerCommand, want 1", n)
		}
		write(t, filepath.Join(w.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), "go"), "")
	})
	wantError(t, err, "6")
	before := w.calls()["ExecContainerCommand"]
	if _, err := w.run(t, "build_script", "true"); err != nil || w.calls()["ExecContainerCommand"] != before {
		t.Errorf("a later stage does not share the exec any more: %v", err)
	}
	if pid := w.theRelay(t); pid != first {
		t.Errorf("relay %d was replaced by %d", first, pid)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
	w.awaitNoGroups(t)
}
