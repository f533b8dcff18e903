package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// containerFlags are the namespaces that each container has for itself.
const containerFlags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

const (
	// messageLimit is how much of the termination message is kept, in bytes.
	messageLimit = 4096
	// logPiece is how much of a log is passed on at once, in bytes.
	logPiece = 4096
	// drainTime bounds the wait for the last output after PID 1 has ended: its
	// pipe ends with the PID namespace, unless a descriptor was passed out of it.
	drainTime             = 2 * time.Second
	defaultTerminationLog = "/dev/termination-log"
)

// Container is one started container.
type Container struct {
	group   *Group
	cfg     ContainerConfig
	dir     string
	cgroup  cgroup
	process *os.Process
	pidfd   *os.File
	input   *os.File   // the other end of cfg.Stdin, nil without
	started initReport // what init resolved: ids, environment

	logged chan struct{} // closed when all output has reached cfg.Log
	done   chan struct{}

	mu     sync.Mutex
	status Status
}

// StartContainer returns when the container's argv has been exec'd, or with the
// reason why it can't be.
func (g *Group) StartContainer(cfg ContainerConfig) (*Container, error) {
	if err := checkContainer(&cfg); err != nil {
		return nil, err
	}
	c := &Container{group: g, cfg: cfg, logged: make(chan struct{}), done: make(chan struct{})}
	pipes, err := newInitPipes()
	if err != nil {
		return nil, err
	}
	defer pipes.close()
	if err := c.fork(pipes); err != nil {
		return nil, fmt.Errorf("start container %s: %w", cfg.Name, err)
	}
	if c.started, err = pipes.handshake(c.initSpec()); err != nil {
		c.kill()
		<-c.done
		return nil, fmt.Errorf("start container %s: %w", cfg.Name, err)
	}
	return c, nil
}

func checkContainer(cfg *ContainerConfig) error {
	if len(cfg.Args) == 0 || cfg.Args[0] == "" {
		return fmt.Errorf("start container %s: no command", cfg.Name)
	}
	if len(cfg.Layers) == 0 {
		return fmt.Errorf("start container %s: no layers", cfg.Name)
	}
	for _, m := range cfg.Mounts {
		if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
			return fmt.Errorf("start container %s: mount target %q is not an absolute path below /", cfg.Name, m.Target)
		}
	}
	cfg.Layers = slices.Clone(cfg.Layers)
	for i, l := range cfg.Layers {
		if !filepath.IsAbs(l) {
			return fmt.Errorf("start container %s: layer %q is not an absolute path", cfg.Name, l)
		}
		cfg.Layers[i] = filepath.Clean(l)
	}
	if cfg.TerminationMessagePath == "" {
		cfg.TerminationMessagePath = defaultTerminationLog
	}
	cfg.Dir = filepath.Clean("/" + cfg.Dir)
	return nil
}

// fork starts the container's init and registers it with the group in one step,
// so that Destroy sees either nothing or a process that it can kill.
func (c *Container) fork(pipes *initPipes) error {
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.destroyed {
		return ErrNotRunning
	}
	id := strconv.Itoa(len(g.containers)) // names may come back with a restart
	c.dir = filepath.Join(g.dir, id)
	var err error
	if c.cgroup, err = newCgroup(g.cgroup.dirs, id, c.cfg.CPU, c.cfg.MemoryBytes, true); err != nil {
		return err
	}
	if err := c.startInit(pipes); err != nil {
		return errors.Join(err, c.cgroup.remove(), removeTree(c.dir))
	}
	g.containers = append(g.containers, c)
	return nil
}

func (c *Container) startInit(pipes *initPipes) error {
	if err := prepareDir(c.dir); err != nil {
		return err
	}
	logR, logW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("log pipe: %w", err)
	}
	defer logW.Close()
	stdin, err := c.stdin()
	if err != nil {
		return errors.Join(err, logR.Close())
	}
	defer stdin.Close()
	pidfd := -1
	c.group.onThread(func() {
		c.process, err = os.StartProcess("/proc/self/exe", []string{initName}, &os.ProcAttr{
			Dir: "/", Env: []string{}, Files: []*os.File{stdin, logW, logW, pipes.childSpec, pipes.childReport},
			Sys: &syscall.SysProcAttr{Cloneflags: containerFlags, Pdeathsig: unix.SIGKILL, Setsid: true, PidFD: &pidfd},
		})
	})
	if err != nil {
		return errors.Join(fmt.Errorf("fork: %w", err), logR.Close(), c.closeInput())
	}
	pipes.closeChild()
	if pidfd >= 0 && unix.SetNonblock(pidfd, true) == nil { // for the poller, see awaitEnd
		c.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	c.status = Status{Running: true, Started: time.Now()}
	go c.copyLog(logR)
	go c.wait(logR)
	// Init waits for its spec, so it is in the cgroup before it does anything.
	if err := c.cgroup.addProcess(c.process.Pid); err != nil {
		c.kill()
		<-c.done
		return err
	}
	return nil
}

// prepareDir makes a container's own directories and its termination log.
func prepareDir(dir string) error {
	for _, sub := range []string{"", "upper", "work", "root", "host", "mask"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("create container directory: %w", err)
		}
	}
	log := filepath.Join(dir, "termination-log")
	if err := os.WriteFile(log, nil, 0o666); err != nil {
		return fmt.Errorf("create termination log: %w", err)
	}
	return os.Chmod(log, 0o666) // past our umask
}

func (c *Container) initSpec() initSpec {
	g := c.group
	return initSpec{
		Dir: c.dir, UserNS: g.host.userNS, Hostname: g.cfg.Hostname, Cgroups: c.cgroup.view(), Config: c.cfg,
		Files: []Mount{
			{Source: filepath.Join(g.dir, "hosts"), Target: "/etc/hosts"},
			{Source: filepath.Join(g.dir, "hostname"), Target: "/etc/hostname"},
			{Source: filepath.Join(g.dir, "resolv.conf"), Target: "/etc/resolv.conf"},
			{Source: filepath.Join(c.dir, "termination-log"), Target: c.cfg.TerminationMessagePath},
		},
	}
}

func (c *Container) copyLog(r *os.File) {
	defer close(c.logged)
	defer r.Close()
	w := c.cfg.Log
	if w == nil {
		w = io.Discard
	}
	// In small pieces: each container holds the buffer for as long as it lives.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, logPiece)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		_, _ = io.Copy(io.Discard, r) // a writer that fails must not block the container
	}
}

// wait reaps PID 1, with which the kernel kills all that runs in its PID
// namespace, and completes the status.
func (c *Container) wait(logR *os.File) {
	awaitEnd(c.pidfd)
	state, err := c.process.Wait()
	finished := time.Now()
	_ = logR.SetReadDeadline(finished.Add(drainTime))
	<-c.logged

	c.mu.Lock()
	c.status.Running, c.status.Finished = false, finished
	if err == nil {
		c.status.ExitCode, c.status.Signal = exitStatus(state)
	} else {
		c.status.ExitCode = -1
	}
	c.status.OOMKills = c.cgroup.oomKills()
	c.status.OOMKilled = c.status.OOMKills > 0
	c.status.Message = readMessage(filepath.Join(c.dir, "termination-log"))
	if c.pidfd != nil {
		_ = c.pidfd.Close()
	}
	c.mu.Unlock()
	_ = c.closeInput()
	close(c.done)
}

// stdin is what PID 1 reads.
func (c *Container) stdin() (*os.File, error) {
	if !c.cfg.Stdin {
		return os.Open(os.DevNull)
	}
	read, write, err := os.Pipe()
	c.input = write
	return read, err
}

func (c *Container) closeInput() error {
	if c.input == nil {
		return nil
	}
	return c.input.Close()
}

// awaitEnd returns when the process of a pidfd has ended, or at once where that
// can't be awaited. Process.Wait would hold a thread for each container.
func awaitEnd(pidfd *os.File) {
	if pidfd == nil {
		return
	}
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool { // an error says that it can't be awaited
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

func readMessage(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, messageLimit))
	return string(b)
}

// Done is closed when PID 1 has ended, its output has been written to Log and
// Status is final.
func (c *Container) Done() <-chan struct{} { return c.done }

// Status is the state now.
func (c *Container) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// OOMKills counts the container's processes killed for a memory limit so far;
// 0 where there is no memory cgroup.
func (c *Container) OOMKills() int { return c.cgroup.oomKills() }

// PID is PID 1's number on the host.
func (c *Container) PID() int { return c.process.Pid }

// Signal sends sig to PID 1. The kernel's rules for PID 1 hold: SIGKILL and
// SIGSTOP always work from outside, any other only where a handler is set.
func (c *Container) Signal(sig os.Signal) error {
	if err := c.process.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		return ErrNotRunning
	} else if err != nil {
		return fmt.Errorf("signal container %s: %w", c.cfg.Name, err)
	}
	return nil
}

func (c *Container) kill() { _ = c.process.Kill() }

// initPipes carry the spec to init and its report, or its error, back.
type initPipes struct{ spec, childSpec, report, childReport *os.File }

func newInitPipes() (*initPipes, error) {
	p := &initPipes{}
	var err error
	if p.childSpec, p.spec, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("init pipe: %w", err)
	}
	if p.report, p.childReport, err = os.Pipe(); err != nil {
		p.close()
		return nil, fmt.Errorf("init pipe: %w", err)
	}
	return p, nil
}

func (p *initPipes) closeChild() {
	_ = p.childSpec.Close()
	_ = p.childReport.Close()
}

func (p *initPipes) close() {
	for _, f := range []*os.File{p.spec, p.childSpec, p.report, p.childReport} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// handshake sends the spec, and reads up to two documents: the report, then an
// error where the exec failed. The end of the pipe is the successful exec.
func (p *initPipes) handshake(spec initSpec) (initReport, error) {
	var report initReport
	if err := json.NewEncoder(p.spec).Encode(spec); err != nil {
		return report, fmt.Errorf("send spec to init: %w", err)
	}
	_ = p.spec.Close()
	dec := json.NewDecoder(p.report)
	reported := false
	for {
		var r initReport
		err := dec.Decode(&r)
		switch {
		case errors.Is(err, io.EOF) && reported:
			return report, nil
		case err != nil:
			return report, errors.New("init ended before it could report (killed?)")
		case r.Error != "":
			return report, errors.New(r.Error)
		}
		report, reported = r, true
	}
}
