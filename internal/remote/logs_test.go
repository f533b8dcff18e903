package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// readLog reads the newest run's log as a person would.
func (g *group) readLog(t testing.TB, ctx context.Context, follow bool) (LogResult, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var log bytes.Buffer
	result, err := g.session(t, &log).ReadLog(ctx, follow, func(Role) {})
	return result, log.String(), err
}

func TestReadLog(t *testing.T) {
	g := newGroup(t, nil)
	if _, _, err := g.readLog(t, t.Context(), true); err == nil || !strings.Contains(err.Error(), "no script has run") {
		t.Errorf("before any run: %v", err)
	}
	tests := []struct {
		name, script string
		status       string
		log          string
	}{
		{"nothing at all", "exit 0", "0", ""},
		{"a status", "echo a; echo b >&2; exit 3", "3", "a\nb\n"},
		{"binary", `printf '\000\377\001\n#end\n\000'`, "0", "\x00\xff\x01\n#end\n\x00"},
		{"megabytes", "head -c 3000001 /dev/zero | tr '\\0' x", "0", strings.Repeat("x", 3000001)},
		{"a child that writes on", lateLine("echo a"), "0", "a\n"},
	}
	for _, role := range []Role{Helper, Build} {
		for _, tt := range tests {
			t.Run(string(role)+"/"+tt.name, func(t *testing.T) {
				if _, log, err := g.run(t, role, strings.ReplaceAll(tt.script, "ROLE", string(role))); err != nil || log != tt.log {
					t.Fatalf("log %q, error %v", clip([]byte(log)), err)
				}
				for _, follow := range []bool{false, true} {
					result, log, err := g.readLog(t, t.Context(), follow)
					if err != nil || log != tt.log || result.Status != tt.status || result.Container != role || result.Length != int64(len(tt.log)) {
						t.Errorf("follow %v: %+v, log %q, error %v", follow, result, clip([]byte(log)), err)
					}
				}
			})
		}
	}
}

// The newest run's log is read, though the job had others within the same second.
func TestReadLogOfTheNewestRun(t *testing.T) {
	for _, shell := range []string{"/usr/bin/dash", "/usr/bin/busybox"} {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			_, err := os.Stat(shell)
			testneed.Need(t, err)
			g := newGroup(t, shellIsh(t, shell))
			for i := range 12 {
				role, want := Build, fmt.Sprintf("run %d\n", i)
				if i%3 == 0 {
					role = Helper
				}
				log := marker{text: want, seen: make(chan struct{})}
				script := fmt.Sprintf("echo run %d; until [ -e /builds/%[1]d ]; do sleep 0.01; done", i)
				ended := make(chan error, 1)
				go func() {
					_, err := g.session(t, &log).Run(t.Context(), Job{Role: role, Shell: "sh", Body: []byte(script)})
					ended <- err
				}()
				log.await(t, ended)
				if result, got, err := g.readLog(t, t.Context(), false); err != nil || got != want || result.Container != role {
					t.Errorf("log %q of %s, error %v, want %q of %s", got, result.Container, err, want, role)
				}
				g.outputOf(t, Helper, fmt.Sprintf("true >/builds/%d", i))
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// While any number of readers follow, are killed in the middle or lose their
// connections, the run's own log stays whole.
func TestReadLogDisturbsNothing(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	g.faulty = func(n int, s *execStream) Stream {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return s // the run's
		}
		if n%3 == 0 {
			return s
		}
		return &cutter{execStream: s, left: random.IntN(20000)}
	}
	const lines = 4000
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d of a log\n", i)
	}
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i of a log; i=$((i+1)); [ $((i%%100)) = 0 ] && sleep 0.02; done; "+
		"until [ -e /.eci/control/killed ]; do sleep 0.05; done; exit 7", lines)
	started := make(chan struct{})
	type outcome struct {
		result Result
		err    error
	}
	var own bytes.Buffer
	done := make(chan outcome, 1)
	go func() {
		s := g.session(t, &signalWriter{w: &own, first: started})
		result, err := s.Run(t.Context(), Job{Role: Build, Shell: "bash", Body: []byte(script)})
		done <- outcome{result, err}
	}()
	select {
	case <-started:
	case o := <-done:
		t.Fatalf("the run ended without a log: %+v, %v", o.result, o.err)
	case <-time.After(time.Minute):
		t.Fatal("no log in a minute")
	}
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i == 3 {
				time.AfterFunc(50*time.Millisecond, cancel) // the kill is the fault
				if _, log, err := g.readLog(t, ctx, true); !errors.Is(err, context.Canceled) || !strings.HasPrefix(want.String(), log) {
					t.Errorf("a killed reader: %v, %q", err, clip([]byte(log)))
				}
				touch(t, filepath.Join(g.control, "killed")) // the run must not end before
				return
			}
			result, log, err := g.readLog(t, ctx, true)
			if err != nil || result.Status != "7" || log != want.String() {
				t.Errorf("reader %d: %+v, %v, %d bytes, want %d", i, result, err, len(log), want.Len())
			}
		})
	}
	readers.Wait()
	o := <-done
	if o.err != nil || o.result.Status != 7 || o.result.Execs != 1 || own.String() != want.String() {
		t.Errorf("the run: %+v, %v, %d bytes of log, want %d and one exec", o.result, o.err, own.Len(), want.Len())
	}
}

type signalWriter struct {
	w     *bytes.Buffer
	first chan struct{}
	once  sync.Once
}

func (s *signalWriter) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.first) })
	return s.w.Write(p)
}

// The process in helper ends when its driver is gone, so that killed readers don't
// pile up.
func TestLogReaderEndsWithItsConnection(t *testing.T) {
	g := newGroup(t, nil)
	if _, _, err := g.run(t, Build, "echo a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	var log bytes.Buffer
	done := make(chan error, 1)
	running := make(chan error, 1)
	started := marker{text: "b\n", seen: make(chan struct{})}
	go func() {
		_, err := g.session(t, &started).Run(ctx, Job{Role: Build, Shell: "bash", Body: []byte("echo b; sleep 300")})
		running <- err
	}()
	started.await(t, running)
	readCtx, kill := context.WithCancel(t.Context())
	go func() {
		_, err := g.session(t, &log).ReadLog(readCtx, true, func(Role) { close(begun) })
		done <- err
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatalf("the reader has not begun: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the reader has not begun in a minute")
	}
	count := `n=0; for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^sh -s .* follow' && n=$((n+1)); done; echo $n`
	if n := g.outputOf(t, Helper, count); n == "0" {
		t.Error("no reader is seen: the test shows nothing")
	}
	kill()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := g.outputOf(t, Helper, "until n=$("+count+") && [ $n = 0 ]; do sleep 0.05; done; echo $n"); n != "0" {
		t.Errorf("%s readers are left", n)
	}
	cancel()
	if err := <-running; !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}
