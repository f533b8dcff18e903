package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// attemptEnv names, to the test binary itself run inside a container, the call
// to try; it prints "ok" or the error and exits.
const attemptEnv = "SANDBOX_TEST_ATTEMPT"

func TestMain(m *testing.M) {
	if name := os.Getenv(attemptEnv); name == "serve" {
		if err := serveOnce(); err != nil {
			fmt.Print(err)
		}
		return
	} else if name != "" {
		runtime.LockOSThread()
		if err := attempts()[name](); err != nil {
			fmt.Print(err)
		} else {
			fmt.Print("ok")
		}
		return
	}
	if done, code, err := testChild(); done {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// attempts are system calls made from inside; TestRefusals knows ECI's answers.
func attempts() map[string]func() error {
	raw := func(nr, a, b, c uintptr) func() error {
		return func() error {
			if _, _, e := unix.RawSyscall(nr, a, b, c); e != 0 {
				return e
			}
			return nil
		}
	}
	openNode := func(mode uint32, major, minor uint32, path string) func() error {
		return func() error {
			if err := unix.Mknod(path, mode|0o666, int(unix.Mkdev(major, minor))); err != nil {
				return fmt.Errorf("mknod: %w", err)
			}
			fd, err := unix.Open(path, unix.O_RDWR, 0)
			if err != nil {
				return fmt.Errorf("open: %w", err)
			}
			return unix.Close(fd)
		}
	}
	return map[string]func() error{
		"mount":                  func() error { return unix.Mount("t", "/mnt", "tmpfs", 0, "") },
		"bind mount":             func() error { return unix.Mount("/tmp", "/mnt", "", unix.MS_BIND, "") },
		"remount":                func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"umount":                 func() error { return unix.Unmount("/proc/sys", 0) },
		"new mount api":          func() error { _, err := unix.Fsopen("tmpfs", 0); return err },
		"open_tree":              func() error { _, err := unix.OpenTree(unix.AT_FDCWD, "/tmp", unix.OPEN_TREE_CLONE); return err },
		"pivot_root":             func() error { return unix.PivotRoot("/", "/tmp") },
		"setns":                  raw(unix.SYS_SETNS, 0, 0, 0),
		"unshare user":           func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"unshare user and more":  func() error { return unix.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET) },
		"unshare mount":          func() error { return unix.Unshare(unix.CLONE_NEWNS) },
		"unshare files":          func() error { return unix.Unshare(unix.CLONE_FS) },
		"clone user":             raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0),
		"clone3":                 raw(unix.SYS_CLONE3, 0, 0, 0),
		"sethostname":            func() error { return unix.Sethostname([]byte("x")) },
		"reboot":                 func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
		"settime":                func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) },
		"fuse":                   func() error { _, err := unix.Open("/dev/fuse", unix.O_RDWR, 0); return err },
		"fuse by mknod":          openNode(unix.S_IFCHR, 10, 229, "/tmp/fuse"),
		"disk by mknod":          openNode(unix.S_IFBLK, 254, 0, "/tmp/disk"),
		"memory by mknod in dev": openNode(unix.S_IFCHR, 1, 1, "/dev/mem"),
		"chroot":                 func() error { return unix.Chroot("/tmp") },
		"chown":                  func() error { return os.Chown("/tmp", 12, 12) },
		"raw socket": func() error {
			_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			return err
		},
		"low port": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrInet4{Port: 80})
		},
		"change loopback": func() error { return errors.Unwrap(loopbackUp()) },
	}
}

func TestRefusals(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	eperm, enosys := unix.EPERM.Error(), unix.ENOSYS.Error()
	wants := map[string]string{
		"mount": eperm, "bind mount": eperm, "remount": eperm, "umount": eperm, "new mount api": eperm, "open_tree": eperm,
		"pivot_root": eperm, "setns": eperm, "unshare user": eperm, "unshare user and more": eperm, "unshare mount": eperm,
		"unshare files": "ok", "clone user": eperm, "clone3": enosys, "sethostname": eperm, "reboot": eperm, "settime": eperm,
		"fuse":          unix.ENOENT.Error(),
		"fuse by mknod": "open: " + unix.EACCES.Error(), "disk by mknod": "open: " + unix.EACCES.Error(),
		"memory by mknod in dev": "open: " + unix.EACCES.Error(),
		"chroot":                 "ok", "chown": "ok", "raw socket": "ok", "low port": "ok", "change loopback": eperm,
	}
	for name := range attempts() {
		t.Run(name, func(t *testing.T) {
			want, ok := wants[name]
			if !ok {
				t.Fatal("no expectation")
			}
			cfg := shell("")
			cfg.Args = []string{"/attempt"}
			cfg.Env = []string{attemptEnv + "=" + name}
			cfg.Mounts = []Mount{{Source: self, Target: "/attempt", ReadOnly: true}}
			if st, out := run(t, g, cfg); out != want || st.ExitCode != 0 {
				t.Errorf("exit %d: %q, want %q", st.ExitCode, out, want)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	// AUDIT_WRITE 29 CHOWN 0 DAC_OVERRIDE 1 FSETID 4 FOWNER 3 KILL 5 MKNOD 27 NET_BIND_SERVICE 10
	// NET_RAW 13 SETGID 6 SETUID 7 SETFCAP 31 SETPCAP 8 SYS_CHROOT 18
	const all, none = "00000000a80425fb", "0000000000000000"
	for _, tc := range []struct{ name, user, eff, ids string }{
		{"root", "", all, "0 0 0"},
		{"numbers", "1000:1000", none, "1000 1000 1000"},
		{"number alone", "54321", none, "54321 0 0"},
		{"name", "daemon", none, "1 1 1"},
		{"name and group", "daemon:mail", none, "1 8 8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := shell("echo $(grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status) $(id -u) $(id -g) $(id -G)")
			cfg.User = tc.user
			want := fmt.Sprintf("CapInh: %s CapPrm: %s CapEff: %s CapBnd: %s CapAmb: %s NoNewPrivs: 1 Seccomp: 2 %s\n",
				none, tc.eff, tc.eff, all, none, tc.ids)
			if _, out := run(t, g, cfg); out != want {
				t.Errorf("got  %swant %s", out, want)
			}
		})
	}
}

// A set-user-id program must not give root back.
func TestNoNewPrivileges(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	top := t.TempDir()
	b, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(top+"/suid-id", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Chmod(top+"/suid-id", 0o4755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := shell("/suid-id -u")
	cfg.Layers, cfg.User = []string{top, "/"}, "1000:1000"
	if _, out := run(t, g, cfg); strings.TrimSpace(out) != "1000" {
		t.Errorf("got %q", out)
	}
}
