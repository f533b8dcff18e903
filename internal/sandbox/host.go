package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning is returned for an operation on a container or group that has ended.
var ErrNotRunning = errors.New("container is not running")

// Host owns one directory below which all groups keep their writable layers.
// Two processes can't hold the same directory at once.
type Host struct {
	dir     string
	lock    *os.File
	cgroups *cgroupRoot
	userNS  bool // not in the initial user namespace: some calls may fail, see mounts.go

	mu     sync.Mutex
	groups map[string]*Group
	closed bool
}

// NewHost takes dir (created if absent), and removes first what an earlier
// process left below it: processes, mounts, cgroups and directories. As an
// unprivileged user call EnterUserNamespace at the start of main first. All of
// this process's descriptors above 2 are marked close-on-exec.
func NewHost(dir string) (*Host, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("sandbox needs root or a user namespace: call sandbox.EnterUserNamespace at the start of main (or TestMain)")
	}
	// Descriptors that our own parent left open would be open in every exec too.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("mark inherited descriptors: %w (Linux 5.11 or newer is needed)", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("sandbox directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, groupsDir), 0o755); err != nil {
		return nil, fmt.Errorf("create sandbox directory: %w", err)
	}
	// The kernel reports mounts by their real path, the sweep compares with it.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("sandbox directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	h := &Host{dir: dir, lock: lock, userNS: inUserNamespace(), groups: map[string]*Group{}}
	if err := sweep(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("sweep %s: %w", dir, err), lock.Close())
	}
	if h.cgroups, err = newCgroupRoot(dir, kernelCgroups()); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return h, nil
}

// lockDir takes an exclusive lock that the kernel drops when the process dies.
// A child between fork and exec may hold a copy for a moment, hence the second
// of patience.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock sandbox directory: %w", err)
	}
	deadline := time.Now().Add(time.Second)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("sandbox directory %s is in use by another process: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Close destroys all groups and removes everything below the directory; the
// directory itself stays, empty. It may be called more than once.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	groups := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		groups = append(groups, g)
	}
	h.mu.Unlock()

	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() { errs[i] = g.Destroy() })
	}
	wg.Wait()
	errs = append(errs, h.cgroups.close(), os.RemoveAll(filepath.Join(h.dir, groupsDir)),
		os.Remove(filepath.Join(h.dir, "lock")), h.lock.Close())
	return errors.Join(errs...)
}

// Supported says whether containers can run here: nil, or an error whose text
// says what to enable. It tries for real, in a child with namespaces of its own.
func Supported() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("sandbox probe: %w", err)
	}
	defer r.Close()
	attr := &syscall.SysProcAttr{Cloneflags: containerFlags | unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		mapToRoot(attr)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{probeName}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{nil, nil, nil, w}, Sys: attr,
	})
	_ = w.Close()
	if err != nil {
		return explainUnsupported(err)
	}
	msg := make([]byte, 4096)
	n, _ := r.Read(msg)
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("sandbox probe: %w", err)
	}
	if !state.Success() {
		return fmt.Errorf("containers can't run here: %s", msg[:n])
	}
	return nil
}

// explainUnsupported turns a refused clone into what the reader can do about it.
func explainUnsupported(err error) error {
	hint := "run as root, or allow namespaces to this process (in docker: --privileged)"
	if os.Geteuid() != 0 {
		hint = "run as root, or enable user namespaces: sysctl -w user.max_user_namespaces=15000" +
			" (Debian: also kernel.unprivileged_userns_clone=1, Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
	}
	return fmt.Errorf("containers can't run here, namespaces are refused (%w): %s", err, hint)
}
