package sandbox

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnterUserNamespace makes an unprivileged process root in a user namespace of
// its own, by running the same command line again in one; as root it does
// nothing and returns done = false. A multi-threaded process can't join a user
// namespace, and exec needs to, so all of it has to live inside from the start:
// call it first thing in main or TestMain and, where done is true, exit with
// code. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on.
func EnterUserNamespace() (done bool, code int, err error) {
	if os.Geteuid() == 0 {
		return false, 0, nil
	}
	// Pdeathsig follows the thread that forked, so it must be this one for good.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)

	attr := &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	mapToRoot(attr)
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil {
		return true, 1, explainUnsupported(err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = p.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	state, err := p.Wait()
	close(ended)
	if err != nil {
		return true, 1, fmt.Errorf("wait for the process in the user namespace: %w", err)
	}
	code, _ = exitStatus(state)
	return true, code, nil
}

// mapToRoot asks for a user namespace in which the caller is root. One id is
// all that an unprivileged process may map without setuid helpers.
func mapToRoot(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// inUserNamespace reports whether ids are mapped, user_namespaces(7): the
// initial namespace maps all 2^32-1 ids onto themselves.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	return strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// exitStatus gives the code as ECI shows it, 128+N for signal N, and N.
func exitStatus(state *os.ProcessState) (code, sig int) {
	ws, ok := state.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal()), int(ws.Signal())
	}
	return state.ExitCode(), 0
}
