package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

const testPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// waitLimit is far above what any awaited event takes; it only ends a hung test.
const waitLimit = time.Minute

// needSandbox skips where containers can't run, except in CI, where it fails.
func needSandbox(t testing.TB) {
	t.Helper()
	err := Supported()
	if err == nil && os.Geteuid() != 0 {
		t.Skip("run as root; the user namespace way is tested from there")
	}
	testneed.Need(t, err)
}

func newTestGroup(t testing.TB, cfg GroupConfig) *Group {
	t.Helper()
	needSandbox(t)
	h, err := NewHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	if cfg.Name == "" {
		cfg.Name = "g"
	}
	g, err := h.CreateGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// lines collects a container's log and lets a test wait for a piece of it.
type lines struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) await(t testing.TB, text string) {
	t.Helper()
	timeout := time.After(waitLimit)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("no %q in log %q", text, l.String())
		}
	}
}

// shell is a container on the host's root that runs a script.
func shell(script string) ContainerConfig {
	return ContainerConfig{Name: "c", Layers: []string{"/"}, Args: []string{"sh", "-c", script}, Env: []string{testPath}}
}

func start(t testing.TB, g *Group, cfg ContainerConfig) (*Container, *lines) {
	t.Helper()
	log := newLines()
	cfg.Log = log
	c, err := g.StartContainer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, log
}

// run starts a container and waits for its end.
func run(t testing.TB, g *Group, cfg ContainerConfig) (Status, string) {
	t.Helper()
	c, log := start(t, g, cfg)
	awaitDone(t, c.Done())
	return c.Status(), log.String()
}

func awaitDone(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(waitLimit):
		t.Fatal("still running")
	}
}

// execOutput runs a script in the container and returns its output and exit code.
func execOutput(t testing.TB, c *Container, script string) (string, int) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := c.Exec(ExecConfig{Args: []string{"sh", "-c", script}, Stdout: out, Stderr: out})
	if err != nil {
		t.Fatal(err)
	}
	awaitDone(t, p.Done())
	code, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), code
}
