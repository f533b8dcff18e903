package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h). The first argument's low
// half stands first on the little-endian machines supported here.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArg0 = 16
)

// x32Bit marks calls of the x32 ABI, which would pass by other numbers.
const x32Bit = 0x40000000

// refusedCalls get EPERM whatever their arguments. Most are refused for want of
// CAP_SYS_ADMIN already; the filter holds in a user namespace too.
func refusedCalls() []uint32 {
	return []uint32{
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_SETNS,
	}
}

// seccompProgram is the filter as classic BPF: another ABI than the machine's
// own gets ENOSYS, clone3 too (its flags are behind a pointer; callers fall
// back to clone), the mount family EPERM, unshare and clone EPERM when they ask
// for a user namespace. All else is allowed.
func seccompProgram(arch uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		nosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	p := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, Jt: 1, K: arch},
		{Code: ret, K: nosys},
		{Code: load, K: offsetNr},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jf: 1, K: x32Bit},
		{Code: ret, K: nosys},
		{Code: equal, Jf: 1, K: unix.SYS_CLONE3},
		{Code: ret, K: nosys},
	}
	for _, nr := range refusedCalls() {
		p = append(p, unix.SockFilter{Code: equal, Jf: 1, K: nr}, unix.SockFilter{Code: ret, K: eperm})
	}
	return append(p,
		unix.SockFilter{Code: equal, Jt: 2, K: unix.SYS_UNSHARE},
		unix.SockFilter{Code: equal, Jt: 1, K: unix.SYS_CLONE},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: load, K: offsetArg0},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.CLONE_NEWUSER},
		unix.SockFilter{Code: ret, K: eperm},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	)
}

// installSeccomp puts the filter on the calling thread; no_new_privs must be set.
func installSeccomp() error {
	arches := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no seccomp filter for %s", runtime.GOARCH)
	}
	filter := seccompProgram(arch)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return fmt.Errorf("install seccomp filter: %w", e)
	}
	return nil
}
