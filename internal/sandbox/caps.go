package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eciCapabilities is the default set of an ECI container, from its documented
// list of allowed capabilities without those that must be asked for (NET_ADMIN,
// SYS_PTRACE, SYS_RAWIO).
const eciCapabilities uint64 = 1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE |
	1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER | 1<<unix.CAP_KILL | 1<<unix.CAP_MKNOD |
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID |
	1<<unix.CAP_SETFCAP | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SYS_CHROOT

// askedCapabilities are those of ECI's list that a container has when its
// configuration names them. SYS_RAWIO is not among them: it takes a ticket.
func askedCapabilities() map[string]uint64 {
	return map[string]uint64{"NET_ADMIN": 1 << unix.CAP_NET_ADMIN, "SYS_PTRACE": 1 << unix.CAP_SYS_PTRACE}
}

// capabilities is the default set with those that are asked for.
func capabilities(asked []string) uint64 {
	set := eciCapabilities
	for _, name := range asked {
		set |= askedCapabilities()[name]
	}
	return set
}

// credentials of a container's processes, as resolved from its User.
type credentials struct {
	UID, GID int
	Groups   []int
	Home     string
}

// drop gives the calling thread, and what it forks or execs, the rights of a
// container for good: bounding set, ids, capability sets, no_new_privs, seccomp.
// Raw system calls throughout: the syscall package's setters act on all threads
// of the process. Capabilities are root's alone to use. A privileged container keeps
// what this process has, and is not filtered; nor is a Rootless one: what the filter
// would refuse takes CAP_SYS_ADMIN, which is had in a user namespace alone. With
// userNS set, setgroups may be refused.
func (c credentials) drop(cfg ContainerConfig, userNS bool) error {
	set := capabilities(cfg.Capabilities)
	if cfg.Privileged {
		var err error
		if set, err = ownCapabilities(); err != nil {
			return err
		}
	}
	for n := uintptr(0); n <= 63; n++ {
		if set&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err == unix.EINVAL {
			break // above the kernel's last capability
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	if err := c.setIDs(userNS); err != nil {
		return err
	}
	var allowed uint64
	if c.UID == 0 {
		allowed = set
	}
	if err := setCapabilities(allowed); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if cfg.Privileged || cfg.Rootless {
		return nil
	}
	return installSeccomp()
}

func (c credentials) setIDs(userNS bool) error {
	groups := make([]uint32, len(c.Groups)+1) // one more: never empty, so &groups[0] holds
	for i, g := range c.Groups {
		groups[i] = uint32(g)
	}
	_, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	if e != 0 && !userNS {
		return fmt.Errorf("setgroups %v: %w", c.Groups, e)
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return fmt.Errorf("set group id %d: %w", c.GID, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return fmt.Errorf("set user id %d: %w", c.UID, e)
	}
	return nil
}

// ownCapabilities is the calling thread's permitted set.
func ownCapabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("get capabilities: %w", err)
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), nil
}

// setCapabilities makes set the permitted and effective sets; inheritable is empty.
func setCapabilities(set uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	lo, hi := uint32(set), uint32(set>>32)
	data := [2]unix.CapUserData{{Effective: lo, Permitted: lo}, {Effective: hi, Permitted: hi}}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
