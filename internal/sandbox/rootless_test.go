package sandbox

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func rootless(script string) ContainerConfig {
	cfg := shell(script)
	cfg.Rootless = true
	return cfg
}

// A Rootless container may make a user namespace and open /dev/fuse; for all else that
// an ECI container is refused it is still refused.
func TestRootless(t *testing.T) {
	if _, err := os.Stat(fuseDevice); err != nil {
		t.Skip(err)
	}
	g := newTestGroup(t, GroupConfig{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	eperm, denied := unix.EPERM.Error(), "open: "+unix.EACCES.Error()
	// The attempts have more than one thread, of which no user namespace is made.
	if _, out := run(t, g, rootless("unshare -Urm sh -c 'mount -t tmpfs none /tmp && echo mounted'")); out != "mounted\n" {
		t.Errorf("in a user namespace: %q", out)
	}
	if _, out := run(t, g, rootless("mount -t tmpfs none /tmp 2>/dev/null || echo refused")); out != "refused\n" {
		t.Errorf("outside of one: %q", out)
	}
	for name, want := range map[string]string{
		"fuse": "ok", "umount": eperm, "pivot_root": eperm, "unshare mount": eperm, "remount": eperm,
		"reboot": eperm, "load a module": eperm, "take a capability": eperm, "open by handle": eperm, "kernel's log": eperm,
		"undo no_new_privs": unix.EINVAL.Error(), "kernel's settings": unix.EROFS.Error(), "disk by mknod": denied, "kvm by mknod": denied,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := rootless("")
			cfg.Args, cfg.Env = []string{"/attempt"}, []string{attemptEnv + "=" + name}
			cfg.Mounts = []Mount{{Source: self, Target: "/attempt", ReadOnly: true}}
			if st, out := run(t, g, cfg); out != want || st.ExitCode != 0 {
				t.Errorf("exit %d: %q, want %q", st.ExitCode, out, want)
			}
		})
	}
}
