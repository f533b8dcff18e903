package sandbox

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitCodes(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	for _, tc := range []struct {
		name, script string
		code, signal int
	}{
		{"success", "exit 0", 0, 0},
		{"own status", "exit 3", 3, 0},
		{"status like a signal's", "exit 137", 137, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st, out := run(t, g, shell(tc.script))
			if st.Running || st.ExitCode != tc.code || st.Signal != tc.signal || st.Finished.Before(st.Started) {
				t.Errorf("status %+v, log %q", st, out)
			}
		})
	}
}

// TestIgnoredSignals: what the host's process was told to ignore, as by nohup, is not
// ignored in a container.
func TestIgnoredSignals(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	signals := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT}
	signal.Ignore(signals...)
	defer signal.Reset(signals...)
	const script = "while read k v; do [ $k = SigIgn: ] && echo $v; done </proc/self/status; true"
	if _, out := run(t, g, shell(script)); out != "0000000000000000\n" {
		t.Errorf("ignored: %s", out)
	}
}

func TestSignalsToPID1(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	t.Run("SIGTERM ignored without a handler, SIGKILL not", func(t *testing.T) {
		c, log := start(t, g, shell("echo up; sleep 1000"))
		log.await(t, "up")
		if err := c.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// A container that answers an exec afterwards has survived the signal.
		if out, code := execOutput(t, c, "echo alive"); out != "alive\n" || code != 0 {
			t.Errorf("exec after SIGTERM: %q, %d", out, code)
		}
		if err := c.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitDone(t, c.Done())
		if st := c.Status(); st.ExitCode != 137 || st.Signal != 9 || st.OOMKilled {
			t.Errorf("status %+v", st)
		}
		if err := c.Signal(unix.SIGTERM); !errors.Is(err, ErrNotRunning) {
			t.Errorf("signal after the end: %v", err)
		}
		if _, err := c.Exec(ExecConfig{Args: []string{"true"}}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("exec after the end: %v", err)
		}
	})
	t.Run("SIGTERM trapped", func(t *testing.T) {
		c, log := start(t, g, shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"))
		log.await(t, "up")
		if err := c.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		awaitDone(t, c.Done())
		if st := c.Status(); st.ExitCode != 7 {
			t.Errorf("status %+v", st)
		}
	})
}

func TestStartErrors(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	for _, tc := range []struct {
		name   string
		change func(*ContainerConfig)
		want   string
	}{
		{"no such command", func(c *ContainerConfig) { c.Args = []string{"foo"} }, `exec: "foo": executable file not found in $PATH`},
		{"no such path", func(c *ContainerConfig) { c.Args = []string{"/no/foo"} }, `exec: "/no/foo": no such file or directory`},
		{"not executable", func(c *ContainerConfig) { c.Args = []string{"/etc/passwd"} }, `exec: "/etc/passwd": permission denied`},
		{"no command", func(c *ContainerConfig) { c.Args = nil }, "no command"},
		{"no layer", func(c *ContainerConfig) { c.Layers = []string{"/no/layer"} }, "image layer: stat /no/layer"},
		{"no layers", func(c *ContainerConfig) { c.Layers = nil }, "no layers"},
		{"unknown user", func(c *ContainerConfig) { c.User = "nemo-x" }, `user "nemo-x" is not in the image's /etc/passwd`},
		{"unknown group", func(c *ContainerConfig) { c.User = "0:nemo-x" }, `group "nemo-x" is not in the image's /etc/group`},
		{"mount source", func(c *ContainerConfig) { c.Mounts = []Mount{{Source: "/no/dir", Target: "/mnt"}} }, "mount source: stat /no/dir"},
		{"mount on root", func(c *ContainerConfig) { c.Mounts = []Mount{{Source: "/", Target: "/."}} }, "not an absolute path below /"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := shell("true")
			tc.change(&cfg)
			if _, err := g.StartContainer(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestFilesAndMounts(t *testing.T) {
	g := newTestGroup(t, GroupConfig{Name: "job-1", Hostname: "runner-host", Hosts: map[string][]string{"127.0.0.1": {"db", "postgres"}}})
	shared, ro, top := t.TempDir(), t.TempDir(), t.TempDir()
	file := filepath.Join(ro, "conf")
	for path, text := range map[string]string{file: "conf", filepath.Join(top, "brought"): "by the top layer"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := shell("")
	cfg.Layers = []string{top, "/"}
	cfg.Dir = "/builds/a b/c"
	cfg.Mounts = []Mount{
		{Source: shared, Target: "/shared"},
		{Source: ro, Target: "/ro/deep", ReadOnly: true},
		{Source: file, Target: "/etc/some/conf", ReadOnly: true},
		{Target: "/mem", Tmpfs: true, Size: 1 << 20},
	}
	for _, tc := range []struct{ name, script, want string }{
		{"working directory", "pwd", "/builds/a b/c\n"},
		{"hostname", "hostname; cat /etc/hostname", "runner-host\nrunner-host\n"},
		{"hosts", "grep -c 'db postgres' /etc/hosts; grep -c runner-host /etc/hosts", "1\n1\n"},
		{"pid 1", "echo $$; echo /proc/[0-9]*", "1\n/proc/1\n"},
		{"home", "echo $HOME", "/root\n"},
		{"read-only directory", "touch /ro/deep/x 2>/dev/null || echo refused; cat /ro/deep/conf", "refused\nconf"},
		{"read-only file", "(echo x > /etc/some/conf) 2>/dev/null || echo refused", "refused\n"},
		{"tmpfs size", "df -B1 --output=size /mem | tail -1", "1048576\n"},
		{"write on the image", "echo x > /usr/bin/new-file && cat /usr/bin/new-file", "x\n"},
		{"top layer", "cat /brought", "by the top layer"},
		{"devices", "echo gone > /dev/null; head -c 3 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo fd > /dev/stdout", "3\n4\nfd\n"},
		{"only these in dev", "echo $(ls /dev)", "fd full null ptmx pts random shm stderr stdin stdout termination-log tty urandom zero\n"},
		{"no data of the host", "echo $(ls /work /home /root /tmp 2>/dev/null)", "/home: /root: /tmp:\n"},
		{"umask", "umask", "0022\n"},
		{"no descriptor left open", "exec ls /proc/self/fd", "0\n1\n2\n3\n"}, // 3 is ls's own
		{"masked files", "for f in kcore keys timer_list; do [ -e /proc/$f ] && cat /proc/$f; done; echo end", "end\n"},
		{"read-only proc/sys and sys", "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/x; do (echo x > $f) 2>/dev/null && echo $f; done; echo end", "end\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := cfg
			cfg.Args = []string{"sh", "-c", tc.script}
			if st, out := run(t, g, cfg); st.ExitCode != 0 || strings.TrimLeft(out, " ") != tc.want {
				t.Errorf("exit %d, %q, want %q", st.ExitCode, out, tc.want)
			}
		})
	}
	t.Run("shared between containers", func(t *testing.T) {
		c1, c2 := cfg, cfg
		c1.Args = []string{"sh", "-c", "echo hello > /shared/f; echo private > /f"}
		c2.Args = []string{"sh", "-c", "cat /shared/f; ls /f 2>/dev/null"}
		run(t, g, c1)
		if _, out := run(t, g, c2); out != "hello\n" {
			t.Errorf("second container sees %q", out)
		}
	})
	if _, err := os.Stat("/usr/bin/new-file"); err == nil {
		t.Error("a container wrote on the host")
	}
}

func TestTerminationMessage(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	for _, tc := range []struct{ name, path, user, script, want string }{
		{"default path", "", "", "echo why > /dev/termination-log", "why\n"},
		{"own path, plain user", "/run/msg", "1000:1000", "printf short > /run/msg", "short"},
		{"cut", "", "", "head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log", strings.Repeat("x", 4096)},
		{"none", "", "", "true", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := shell(tc.script)
			cfg.TerminationMessagePath, cfg.User = tc.path, tc.user
			if st, out := run(t, g, cfg); st.Message != tc.want {
				t.Errorf("message %q, want %q; log %q", st.Message, tc.want, out)
			}
		})
	}
}
