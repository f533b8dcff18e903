package sandbox

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

func TestGroupNetwork(t *testing.T) {
	g := newTestGroup(t, GroupConfig{Hosts: map[string][]string{"127.0.0.1": {"db"}}})
	l, err := g.Listen("127.0.0.1:8099")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello from outside\n")
			_ = conn.Close()
		}
	}()
	const connect = "exec bash -c 'cat < /dev/tcp/db/8099' 2>&1"
	t.Run("listener of the host process, by a service's name", func(t *testing.T) {
		if _, out := run(t, g, shell(connect)); out != "hello from outside\n" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("not on the host", func(t *testing.T) {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:8099", time.Second)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(waitLimit))
		if said, _ := io.ReadAll(io.LimitReader(conn, 5)); string(said) == "hello" { // else it is another program's
			t.Error("the group's listener is reachable from the host")
		}
	})
	t.Run("not in another group", func(t *testing.T) {
		other, err := g.host.CreateGroup(GroupConfig{Name: "other"})
		if err != nil {
			t.Fatal(err)
		}
		if _, out := run(t, other, shell("exec bash -c 'cat < /dev/tcp/127.0.0.1/8099' 2>&1")); !strings.Contains(out, "refused") {
			t.Errorf("got %q", out)
		}
	})
	t.Run("between two containers", func(t *testing.T) {
		// The listener is the first container's: an address taken there is taken here.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		srv := shell("")
		srv.Args, srv.Env = []string{"/serve"}, []string{attemptEnv + "=serve"}
		srv.Mounts = []Mount{{Source: self, Target: "/serve", ReadOnly: true}}
		_, log := start(t, g, srv)
		log.await(t, "listening")
		if _, out := run(t, g, shell("exec bash -c 'cat < /dev/tcp/127.0.0.1/8100' 2>&1")); out != "hello from a container" {
			t.Errorf("got %q", out)
		}
	})
}

// serveOnce is the service container of TestGroupNetwork.
func serveOnce() error {
	l, err := net.Listen("tcp", "127.0.0.1:8100")
	if err != nil {
		return err
	}
	_, _ = io.WriteString(os.Stdout, "listening\n")
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "hello from a container")
	return err
}

func TestDestroyLeavesNothing(t *testing.T) {
	g := newTestGroup(t, GroupConfig{Name: "many"})
	const script = "trap '' TERM INT HUP; i=0; while [ $i -lt 50 ]; do setsid sleep 1000 & i=$((i+1)); done; echo up; wait"
	c, log := start(t, g, shell(script))
	log.await(t, "up")
	p, err := c.Exec(ExecConfig{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(processesBelow(t, g.host.dir)); n < 52 {
		t.Errorf("%d processes before", n)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for range 2 { // parallel calls are one
		wg.Go(func() {
			if err := g.Destroy(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// It takes 100 ms; what is held is that none of the processes is waited for in vain.
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("destroy took %v", d)
	} else {
		t.Logf("destroy took %v", d)
	}
	if left := processesBelow(t, g.host.dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if code, err := p.Wait(); code != 137 || err != nil {
		t.Errorf("exec: %d, %v", code, err)
	}
	if st := c.Status(); st.Running || st.ExitCode != 137 {
		t.Errorf("status %+v", st)
	}
	if _, err := os.Stat(g.dir); err == nil {
		t.Error("the group's directory is left")
	}
	if err := g.Destroy(); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := g.StartContainer(shell("true")); err == nil {
		t.Error("a container started in a destroyed group")
	}
	if _, err := g.Listen("127.0.0.1:0"); err == nil {
		t.Error("a listener in a destroyed group")
	}
}

func TestGroupNames(t *testing.T) {
	g := newTestGroup(t, GroupConfig{Name: "taken"})
	for _, tc := range []struct{ name, group, want string }{
		{"empty", "", "can't name a directory"},
		{"path", "../x", "can't name a directory"},
		{"hidden", "..", "can't name a directory"},
		{"option of overlayfs", "a,b", "can't name a directory"},
		{"taken", "taken", "exists"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := g.host.CreateGroup(GroupConfig{Name: tc.group}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := g.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.host.CreateGroup(GroupConfig{Name: "taken"}); err != nil {
		t.Errorf("a name is free again after Destroy: %v", err)
	}
}

// needMemoryCgroup skips where limits can't be set, except in CI.
func needMemoryCgroup(t *testing.T, g *Group) {
	t.Helper()
	_, v1 := g.cgroup.dirs["memory"]
	_, v2 := g.cgroup.dirs[""]
	if v1 || v2 {
		return
	}
	testneed.Need(t, errors.New("the memory cgroup is not writable"))
}

func TestOutOfMemory(t *testing.T) {
	g := newTestGroup(t, GroupConfig{MemoryBytes: 512 << 20})
	needMemoryCgroup(t, g)
	// tail keeps the one endless line that it reads in memory.
	const eat = "tail /dev/zero >/dev/null 2>&1"
	for _, tc := range []struct {
		name, script string
		code         int
		oom          bool
	}{
		{"PID 1", "exec " + eat, 137, true},
		{"a child, its parent goes on", eat + "; exit 4", 4, true},
		{"inside, counted", eat + "; grep -rh oom_kill /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events 2>/dev/null | grep -v _disable", 0, true},
		{"killed by its own hand", "sh -c 'kill -KILL $$'; exit 0", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := shell(tc.script)
			cfg.MemoryBytes = 24 << 20
			st, out := run(t, g, cfg)
			if st.ExitCode != tc.code || st.OOMKilled != tc.oom {
				t.Errorf("status %+v, log %q", st, out)
			}
			if tc.name == "inside, counted" && !strings.Contains(out, "oom_kill 1\n") {
				t.Errorf("inside: %q", out)
			}
		})
	}
	t.Run("by an exec, the container goes on", func(t *testing.T) {
		cfg := shell("echo up; sleep 1000")
		cfg.MemoryBytes = 24 << 20
		c, log := start(t, g, cfg)
		log.await(t, "up")
		if _, code := execOutput(t, c, "exec "+eat); code != 137 {
			t.Errorf("exit code %d", code)
		}
		if n := c.OOMKills(); n != 1 || !c.Status().Running {
			t.Errorf("%d kills, status %+v", n, c.Status())
		}
		if out, _ := execOutput(t, c, "(echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes) 2>&1"); !strings.Contains(out, "Read-only") && !strings.Contains(out, "nonexistent") {
			t.Errorf("the limit can be written inside: %q", out)
		}
	})
}

func TestCPULimit(t *testing.T) {
	g := newTestGroup(t, GroupConfig{CPU: 1.5})
	for ctrl, file := range map[string]string{"cpu": "cpu.cfs_quota_us", "": "cpu.max"} {
		dir, ok := g.cgroup.dirs[ctrl]
		if !ok {
			continue
		}
		b, err := os.ReadFile(dir + "/" + file)
		if err != nil || !strings.HasPrefix(string(b), "150000") {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	if _, err := g.StartContainer(shell("true")); err != nil {
		t.Error(err)
	}
}

func BenchmarkGroup(b *testing.B) {
	g := newTestGroup(b, GroupConfig{Name: "outer"})
	for b.Loop() {
		g, err := g.host.CreateGroup(GroupConfig{Name: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := g.StartContainer(shell("sleep 1000")); err != nil {
			b.Fatal(err)
		}
		if err := g.Destroy(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExec(b *testing.B) {
	g := newTestGroup(b, GroupConfig{})
	c, err := g.StartContainer(shell("sleep 1000"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := c.Exec(ExecConfig{Args: []string{"true"}})
		if err != nil {
			b.Fatal(err)
		}
		if code, err := p.Wait(); code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
	_ = c.Signal(unix.SIGKILL)
}
