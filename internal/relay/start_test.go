package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse has this goroutine's thread, which ends with it, and what it starts live under
// a kernel without a system call.
func refuse(t *testing.T, call uint32) {
	t.Helper()
	runtime.LockOSThread()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0); err != nil {
		t.Fatal(err)
	}
}

// A relay gets no descriptor of ours, on kernels too that can't mark a range of them:
// those before 5.11, as many hosts have them.
func TestStartOnAnOldKernel(t *testing.T) {
	dir := t.TempDir()
	program, socket := filepath.Join(dir, "program"), filepath.Join(dir, "relay", "socket")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nls -l /proc/self/fd >\"$2.has\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Parallel() // a child of another test would have had the program open for writing: text file busy
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(socket+".has", 0o600); err != nil {
		t.Fatal(err)
	}
	ours, err := unix.Open(program, unix.O_RDONLY, 0) // as our parent may have left it open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours) //nolint:errcheck // nothing was written
	refuse(t, unix.SYS_CLOSE_RANGE)
	if err := Start(program, socket, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	has, err := os.ReadFile(socket + ".has")
	if text := string(has); err != nil || strings.Contains(text, fmt.Sprintf(" %d -> %s", ours, program)) || !strings.Contains(text, " 3 -> socket:") {
		t.Errorf("it has, %v:\n%s", err, text)
	}
}

// Of two relays that are started for a socket, one right after the other, the first ends
// without the second's.
func TestStartedTwice(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "relay", "socket")
	first, inode, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	settings := quick()
	settings.Lonely = 10 * time.Millisecond
	server := &Server{Settings: settings, Until: time.Now().Add(time.Hour), Socket: socket, Inode: inode}
	if err := server.Serve(t.Context(), first); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("it removed another's socket: %v", err)
	}
}
