package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// group is helper and build of a container group, without any API before them.
type group struct {
	containers map[Role]*sandbox.Container
	control    string
	mu         sync.Mutex
	execs      int
	unused     int // turns that Sync took and made no exec at
	stops      int // execs that ask for a stop in the container itself
	// idle, where it is set, is the session's, not scaled: how long this machine may stand
	// still before it costs a connection, where those are counted.
	idle time.Duration
	// faulty wraps the n-th exec's stream, from 0.
	faulty func(n int, s *execStream) Stream
	// answered, where it is set, has Sync execs carry the streams, and may spoil the
	// n-th one's answer; it has taken effect.
	answered func(n int, command []string, output string) (string, error)
	// refuses, where it is set, tells of Sync execs that fail without effect.
	refuses func(command []string) bool
}

// askStop is a Sync exec that asks PID 1 for a stop.
func askStop(command []string) bool { return command[3] == "poll" && command[11] == "stop" }

// image is a top layer over the host's root.
func image(t testing.TB, files map[string]string) []string {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{"tmp", "root", "usr/local/bin", ".eci", "builds"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(top, "tmp"), 0o1777); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{top, "/"}
}

// newGroup starts helper and build as prepare would; adjust changes either.
func newGroup(t testing.TB, adjust func(c *sandbox.ContainerConfig)) *group {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	control := memoryDir(t)
	host, err := sandbox.NewHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	sg, err := host.CreateGroup(sandbox.GroupConfig{Name: "g"})
	if err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	script := filepath.Join(shared, "script")
	mounts := []sandbox.Mount{{Source: script, Target: ScriptDir, ReadOnly: true}}
	for name, target := range map[string]string{"logs": LogDir, "builds": "/builds"} {
		mounts = append(mounts, sandbox.Mount{Source: filepath.Join(shared, name), Target: target})
	}
	mounts = append(mounts, sandbox.Mount{Source: control, Target: ControlDir})
	for _, m := range mounts {
		if err := os.Mkdir(m.Source, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range Scripts() {
		if err := os.WriteFile(filepath.Join(script, file.Name), file.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	helper := sandbox.ContainerConfig{Name: "helper", Args: HelperCommand("/builds"), Mounts: mounts, Env: []string{path},
		Layers: image(t, map[string]string{"usr/local/bin/gitlab-runner": "#!/bin/sh\necho gitlab-runner\n"})}
	build := sandbox.ContainerConfig{Name: "build", Args: BuildCommand(), Mounts: mounts, Env: []string{path}, Layers: image(t, nil)}
	if adjust != nil {
		adjust(&helper)
		adjust(&build)
	}
	g := &group{containers: map[Role]*sandbox.Container{}, control: control}
	for role, cfg := range map[Role]sandbox.ContainerConfig{Helper: helper, Build: build} {
		cfg.Log = testLog{t}
		if g.containers[role], err = sg.StartContainer(cfg); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// memoryDir is a directory in memory, as the control volume is.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "eci-control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // the next boot clears it
	return filepath.Join(dir, "control")
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("container: %s", p)
	return len(p), nil
}

// execStream is an exec over pipes. Closing it tells the process nothing.
type execStream struct {
	in, out *os.File
}

func (s *execStream) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s *execStream) Write(p []byte) (int, error) { return s.in.Write(p) }
func (s *execStream) Stderr() string              { return "" }
func (s *execStream) Close() error                { return errors.Join(s.in.Close(), s.out.Close()) }

func (g *group) open(_ context.Context, role Role, command []string) (Stream, error) {
	stream, err := g.exec(role, command)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.faulty != nil {
		return g.faulty(g.execs-1, stream), nil
	}
	return stream, nil
}

// exec starts a process and counts it.
func (g *group) exec(role Role, command []string) (*execStream, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inR.Close()
	defer outW.Close()
	if _, err := g.containers[role].Exec(sandbox.ExecConfig{Args: command, Stdin: inR, Stdout: outW}); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.execs++
	if Urgent(command) {
		g.stops++
	}
	return &execStream{in: inW, out: outR}, nil
}

// diagnose is what the API would say.
func (g *group) diagnose(context.Context) error {
	for role, c := range g.containers {
		if s := c.Status(); !s.Running {
			return errors.New("container " + string(role) + " has ended: " + s.Message)
		}
	}
	return nil
}

func (g *group) session(t testing.TB, output io.Writer) *Session {
	logger := logrus.New()
	logger.SetOutput(testLog{t})
	session := &Session{Open: g.open, Diagnose: g.diagnose, Output: output, Notices: io.Discard,
		Settings: DefaultSettings().Scaled(20), Logger: logger}
	session.Settings.Idle = cmp.Or(g.idle, session.Settings.Idle)
	if g.answered != nil {
		session.Open = g.sync(session.Settings).Open
	}
	return session
}

// run runs a script and returns its log.
func (g *group) run(t testing.TB, role Role, script string) (Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := g.session(t, &log).Run(ctx, Job{Role: role, Shell: "bash", Body: []byte(script)})
	return result, log.String(), err
}

// outputOf runs a command in a container by an exec of its own.
func (g *group) outputOf(t testing.TB, role Role, script string) string {
	t.Helper()
	stream, err := g.open(context.Background(), role, []string{"sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	hung := time.AfterFunc(2*time.Minute, func() { stream.Close() })
	out, err := io.ReadAll(stream)
	if !hung.Stop() {
		t.Fatalf("%s: it has not ended in two minutes: %s", role, script)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
