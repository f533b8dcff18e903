package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

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

		"clone mount":     raw(unix.SYS_CLONE, unix.CLONE_NEWNS|uintptr(unix.SIGCHLD), 0, 0),
		"clone pid":       raw(unix.SYS_CLONE, unix.CLONE_NEWPID|uintptr(unix.SIGCHLD), 0, 0),
		"unshare pid":     func() error { return unix.Unshare(unix.CLONE_NEWPID) },
		"unshare network": func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		"unshare host":    func() error { return unix.Unshare(unix.CLONE_NEWUTS) },
		"unshare ipc":     func() error { return unix.Unshare(unix.CLONE_NEWIPC) },
		"unshare cgroup":  func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) },
		"setdomainname":   func() error { return unix.Setdomainname([]byte("x")) },
		"adjust clock": func() error {
			_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY})
			return err
		},
		"load a module":   func() error { return ignore(unix.InitModule([]byte("x"), ""), unix.ENOSYS) },
		"load a kernel":   func() error { return ignore(raw(unix.SYS_KEXEC_LOAD, 0, 0, 0)(), unix.ENOSYS) },
		"swap":            raw(unix.SYS_SWAPON, uintptr(unsafe.Pointer(unsafe.StringData("/tmp\x00"))), 0, 0),
		"accounting":      func() error { return ignore(unix.Acct("/tmp/x"), unix.ENOSYS) },
		"kernel's log":    func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_CLEAR, nil); return err },
		"watch all files": func() error { _, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT, 0); return err },
		"hang up":         raw(unix.SYS_VHANGUP, 0, 0, 0),
		"open by handle":  openByHandle,
		"go first":        func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) },
		"higher limit": func() error {
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				return err
			}
			limit.Max++
			return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		},
		"take a capability": func() error { return errors.Unwrap(setCapabilities(1 << unix.CAP_SYS_ADMIN)) },
		"ambient capability": func() error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0)
		},
		"undo no_new_privs":      func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) },
		"undo seccomp":           func() error { return unix.Prctl(unix.PR_SET_SECCOMP, 0, 0, 0, 0) },
		"kernel's settings":      openToWrite("/proc/sys/kernel/core_pattern"),
		"change an interrupt":    openToWrite("/proc/irq/default_smp_affinity"),
		"sysfs":                  openToWrite("/sys/kernel/mm/ksm/run"),
		"tun":                    openToWrite("/dev/net/tun"),
		"tun by mknod":           openNode(unix.S_IFCHR, 10, 200, "/tmp/tun"),
		"kvm by mknod":           openNode(unix.S_IFCHR, 10, 232, "/tmp/kvm"),
		"the kernel's memory":    func() error { _, err := unix.Open("/dev/kmsg", unix.O_RDONLY, 0); return err },
		"drop a capability":      func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_CHOWN, 0, 0, 0) },
		"another user":           func() error { return unix.Setresuid(1000, 1000, 1000) },
		"packets of the network": func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err },
	}
}

func openToWrite(path string) func() error {
	return func() error { _, err := unix.Open(path, unix.O_WRONLY, 0); return err }
}

// openByHandle is how a container once read the host's files past its root.
func openByHandle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/dev/shm", 0)
	if err != nil {
		return fmt.Errorf("name to handle: %w", err)
	}
	dir, err := unix.Open("/dev/shm", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
	return err
}

// ignore takes err for the refusal that it is on kernels that do not have the call.
func ignore(err, absent error) error {
	if errors.Is(err, absent) {
		return unix.EPERM
	}
	return err
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

		"clone mount": eperm, "clone pid": eperm, "unshare pid": eperm, "unshare network": eperm, "unshare host": eperm,
		"unshare ipc": eperm, "unshare cgroup": eperm, "setdomainname": eperm, "adjust clock": eperm, "load a module": eperm,
		"load a kernel": eperm, "swap": eperm, "accounting": eperm, "kernel's log": eperm, "watch all files": eperm,
		"hang up": eperm, "open by handle": eperm, "go first": unix.EACCES.Error(), "higher limit": eperm,
		"take a capability": eperm, "ambient capability": eperm, "undo no_new_privs": unix.EINVAL.Error(), "undo seccomp": unix.EINVAL.Error(),
		"kernel's settings": unix.EROFS.Error(), "change an interrupt": unix.EROFS.Error(), "sysfs": unix.EROFS.Error(),
		"tun": unix.ENOENT.Error(), "tun by mknod": "open: " + unix.EACCES.Error(), "kvm by mknod": "open: " + unix.EACCES.Error(),
		"the kernel's memory": unix.ENOENT.Error(), "drop a capability": "ok", "another user": "ok", "packets of the network": "ok",
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
	const network, both = "00000000a80435fb", "00000000a80c35fb" // NET_ADMIN 12, SYS_PTRACE 19
	const show = "echo $(grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status) $(id -u) $(id -g) $(id -G)"
	for _, tc := range []struct {
		name, user string
		asked      []string
		bound, eff string
		ids        string
	}{
		{"root", "", nil, all, all, "0 0 0"},
		{"numbers", "1000:1000", nil, all, none, "1000 1000 1000"},
		{"number alone", "54321", nil, all, none, "54321 0 0"},
		{"name", "daemon", nil, all, none, "1 1 1"},
		{"name and group", "daemon:mail", nil, all, none, "1 8 8"},
		{"asked for", "", []string{"NET_ADMIN"}, network, network, "0 0 0"},
		{"all that can be asked for", "", []string{"SYS_PTRACE", "NET_ADMIN", "CHOWN"}, both, both, "0 0 0"},
		{"asked for, and no root to use it", "54321", []string{"NET_ADMIN"}, network, none, "54321 0 0"},
		{"never to be had", "", []string{"SYS_ADMIN", "SYS_RAWIO", "SYS_MODULE", "BPF", "ALL"}, all, all, "0 0 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := shell(show + "; exec sleep 1000")
			cfg.User, cfg.Capabilities = tc.user, tc.asked
			want := fmt.Sprintf("CapInh: %s CapPrm: %s CapEff: %s CapBnd: %s CapAmb: %s NoNewPrivs: 1 Seccomp: 2 %s\n",
				none, tc.eff, tc.eff, tc.bound, none, tc.ids)
			c, log := start(t, g, cfg)
			log.await(t, "\n")
			if out := log.String(); out != want {
				t.Errorf("got  %swant %s", out, want)
			}
			if out, code := execOutput(t, c, show); out != want || code != 0 {
				t.Errorf("an exec has %d %swant %s", code, out, want)
			}
		})
	}
	t.Run("what NET_ADMIN is for", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cfg := shell("")
		cfg.Args, cfg.Env, cfg.Capabilities = []string{"/attempt"}, []string{attemptEnv + "=change loopback"}, []string{"NET_ADMIN"}
		cfg.Mounts = []Mount{{Source: self, Target: "/attempt", ReadOnly: true}}
		if _, out := run(t, g, cfg); out != "ok" {
			t.Errorf("changing the group's loopback: %q", out)
		}
	})
}

// A privileged container may mount, and so may an exec; one beside it may not.
func TestPrivileged(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	// It prints once it has unmounted, or the exec beside it may count its mount too.
	const mount = "n=$(mount -t tmpfs x /tmp && grep -c '^x /tmp ' /proc/mounts); umount /tmp; echo $n"
	cfg := shell(mount + "; exec sleep 1000")
	cfg.Privileged = true
	c, log := start(t, g, cfg)
	if log.await(t, "\n"); log.String() != "1\n" {
		t.Errorf("mounting: %q", log.String())
	}
	if out, code := execOutput(t, c, mount); out != "1\n" || code != 0 {
		t.Errorf("mounting by an exec: %d %q", code, out)
	}
	if _, out := run(t, g, shell("{ "+mount+"; } 2>&1")); !strings.Contains(out, "denied") && !strings.Contains(out, "not permitted") {
		t.Errorf("mounting without: %q", out)
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
