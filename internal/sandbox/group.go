package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// groupsDir, in the host directory, holds one directory per group.
const groupsDir = "groups"

// Group is a set of containers with one network namespace, as an ECI container
// group. Its methods may be called from any goroutine.
type Group struct {
	host   *Host
	cfg    GroupConfig
	dir    string
	cgroup cgroup

	// calls are run on the one thread that lives in the group's network
	// namespace as long as the group does. Containers are forked there: their
	// Pdeathsig is bound to that thread.
	calls chan func()
	ended chan struct{} // closed when the thread is done

	mu         sync.Mutex
	containers []*Container
	destroyed  bool
	gone       chan struct{} // closed when Destroy has finished
	goneErr    error
}

// CreateGroup makes a network namespace with its loopback up, and a cgroup
// where they can be written.
func (h *Host) CreateGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Name == "" || cfg.Name != filepath.Base(cfg.Name) || strings.ContainsAny(cfg.Name, ",:\\\n ") || strings.HasPrefix(cfg.Name, ".") {
		return nil, fmt.Errorf("group name %q can't name a directory", cfg.Name)
	}
	if cfg.Hostname == "" {
		cfg.Hostname = cfg.Name
	}
	g := &Group{
		host: h, cfg: cfg, dir: filepath.Join(h.dir, groupsDir, cfg.Name),
		calls: make(chan func()), ended: make(chan struct{}), gone: make(chan struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errors.New("sandbox host is closed")
	}
	if h.groups[cfg.Name] != nil {
		return nil, fmt.Errorf("group %q exists", cfg.Name)
	}
	if err := g.writeFiles(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(g.dir))
	}
	var err error
	if g.cgroup, err = newCgroup(h.cgroups.dirs, cfg.Name, cfg.CPU, cfg.MemoryBytes, false); err != nil {
		return nil, errors.Join(err, os.RemoveAll(g.dir))
	}
	ready := make(chan error, 1)
	onOwnThread(func() { g.serve(ready) })
	if err := <-ready; err != nil {
		return nil, errors.Join(err, g.cgroup.remove(), os.RemoveAll(g.dir))
	}
	h.groups[cfg.Name] = g
	return g, nil
}

// serve is the group's thread.
func (g *Group) serve(ready chan<- error) {
	defer close(g.ended)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("create network namespace: %w", err)
		return
	}
	if err := loopbackUp(); err != nil {
		ready <- err
		return
	}
	taken, err := takePorts(g.cfg.TakenPorts)
	defer func() {
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
	}()
	if err != nil {
		ready <- err
		return
	}
	ready <- nil
	for f := range g.calls {
		f()
	}
}

// takePorts binds ports of the calling thread's network namespace on all its
// addresses, without listening: whoever connects is refused. The sockets' numbers
// are returned on failure too.
func takePorts(ports []int) (fds []int, err error) {
	for _, port := range ports {
		var address unix.Sockaddr = &unix.SockaddrInet6{Port: port} // and IPv4's
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			address = &unix.SockaddrInet4{Port: port}
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		if err != nil {
			return fds, fmt.Errorf("take port %d: %w", port, err)
		}
		fds = append(fds, fd)
		if err := unix.Bind(fd, address); err != nil {
			return fds, fmt.Errorf("take port %d: %w", port, err)
		}
	}
	return fds, nil
}

// onThread runs f on the group's thread and waits for it.
func (g *Group) onThread(f func()) {
	done := make(chan struct{})
	g.calls <- func() { defer close(done); f() }
	<-done
}

// loopbackUp sets IFF_UP on lo of the calling thread's network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(req)))
	runtime.KeepAlive(req)
	if e != 0 {
		return fmt.Errorf("loopback up: %w", e)
	}
	return nil
}

// writeFiles makes the files below /etc that all containers of the group share.
func (g *Group) writeFiles() error {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return fmt.Errorf("create group directory: %w", err)
	}
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t%s\n", g.cfg.Hostname)
	addresses := make([]string, 0, len(g.cfg.Hosts))
	for a := range g.cfg.Hosts {
		addresses = append(addresses, a)
	}
	slices.Sort(addresses)
	for _, a := range addresses {
		fmt.Fprintf(&hosts, "%s\t%s\n", a, strings.Join(g.cfg.Hosts[a], " "))
	}
	for name, content := range map[string]string{
		"hosts":    hosts.String(),
		"hostname": g.cfg.Hostname + "\n",
		// Nothing listens there: a lookup fails at once instead of timing out.
		"resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	} {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// Listen opens a TCP listener inside the group's network namespace. It can be
// accepted from like any other, and serves the group's containers alone. Close
// it: an open socket keeps the namespace alive.
func (g *Group) Listen(address string) (net.Listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.destroyed {
		return nil, ErrNotRunning
	}
	var l net.Listener
	var err error
	g.onThread(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		return nil, fmt.Errorf("listen in group %s: %w", g.cfg.Name, err)
	}
	return l, nil
}

// Destroy kills every process of the group at once, waits until they are gone,
// and removes cgroups and directories. Later and parallel calls wait for the
// first and return what it returned.
func (g *Group) Destroy() error {
	g.mu.Lock()
	if g.destroyed {
		g.mu.Unlock()
		<-g.gone
		return g.goneErr
	}
	g.destroyed = true
	containers := slices.Clone(g.containers)
	for _, c := range containers {
		c.kill()
	}
	g.mu.Unlock()

	var errs []error
	for _, c := range containers {
		<-c.done
		errs = append(errs, c.cgroup.remove())
	}
	close(g.calls)
	<-g.ended
	errs = append(errs, g.cgroup.remove(), removeTree(g.dir))
	g.goneErr = errors.Join(errs...)

	g.host.mu.Lock()
	delete(g.host.groups, g.cfg.Name)
	g.host.mu.Unlock()
	close(g.gone)
	return g.goneErr
}
