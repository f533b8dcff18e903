package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is one process added to a running container.
type Process struct {
	process *os.Process
	done    chan struct{} // closed when code and err are set
	code    int
	err     error
}

// Exec starts one more process with the container's ids, rights, limits,
// working directory and environment, in a session of its own, parent 0 inside.
// It is forked by a thread that has joined the container and given up its
// rights, so no second Go runtime is started. On cgroup v2, where threads can't
// move alone, it joins the cgroup right after its start: a child it forks in
// those microseconds escapes the limits, not the kill.
func (c *Container) Exec(cfg ExecConfig) (*Process, error) {
	if len(cfg.Args) == 0 || cfg.Args[0] == "" {
		return nil, errors.New("exec: no command")
	}
	files, closeFiles, err := execFiles(cfg)
	if err != nil {
		return nil, err
	}
	defer closeFiles()
	// Held against wait, which closes the pidfd. Destroy needs no lock here: what
	// starts before it is killed with the rest, what starts later is refused.
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.status.Running {
		return nil, ErrNotRunning
	}
	env := mergeEnv(c.started.Env, cfg.Env)
	result := make(chan error, 1)
	p := &Process{done: make(chan struct{})}
	onOwnThread(func() {
		var err error
		p.process, err = c.forkInside(cfg.Args, env, files, cfg.TTY)
		result <- err
	})
	if err := <-result; err != nil {
		return nil, err
	}
	if _, v2 := c.cgroup.dirs[""]; v2 {
		_ = c.cgroup.addProcess(p.process.Pid) // fails only where it has ended already
	}
	go p.reap()
	return p, nil
}

// forkInside runs on a thread of its own, which is spent afterwards.
func (c *Container) forkInside(args, env []string, files []*os.File, tty bool) (*os.Process, error) {
	if err := c.cgroup.addThread(); err != nil {
		return nil, err
	}
	if err := c.join(); err != nil {
		return nil, err
	}
	unix.Umask(0o022)
	if err := unix.Chdir(c.cfg.Dir); err != nil {
		return nil, fmt.Errorf("exec: working directory %s: %w", c.cfg.Dir, err)
	}
	path, err := lookPath(args[0], env)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.cfg.Dir, path) // os.StartProcess takes no view of our thread's directory
	}
	if err := c.started.User.drop(c.cfg, c.group.host.userNS); err != nil {
		return nil, err
	}
	p, err := os.StartProcess(path, args, &os.ProcAttr{
		Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: tty},
	})
	if errors.Is(err, unix.ENOMEM) {
		return nil, ErrNotRunning // clone's answer for a PID namespace whose PID 1 has ended
	}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = execError(args[0], pe.Err)
	}
	return p, err
}

// join moves the calling thread into the container's namespaces; the PID
// namespace counts for its children alone.
func (c *Container) join() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("exec: own root directory: %w", err)
	}
	conn, err := c.pidfd.SyscallConn() // Fd would make it blocking, and awaitEnd needs it not to be
	if err != nil {
		return fmt.Errorf("exec: join container: %w", err)
	}
	controlErr := conn.Control(func(fd uintptr) { err = unix.Setns(int(fd), containerFlags|unix.CLONE_NEWNET) })
	if err == nil {
		err = controlErr
	}
	if errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("exec: join container: %w", err)
	}
	return nil
}

// execFiles gives stdin, stdout and stderr, /dev/null for those not set.
func execFiles(cfg ExecConfig) ([]*os.File, func(), error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("exec: %w", err)
	}
	files := []*os.File{cfg.Stdin, cfg.Stdout, cfg.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	return files, func() { _ = null.Close() }, nil
}

// mergeEnv lays add over base: one value for each key.
func mergeEnv(base, add []string) []string {
	env := slices.Clone(base)
	for _, kv := range add {
		key, _, _ := strings.Cut(kv, "=")
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		if i < 0 {
			env = append(env, kv)
		} else {
			env[i] = kv
		}
	}
	return env
}

// reap always waits: an unreaped process would hold up the end of the
// container's PID namespace, and so Destroy.
func (p *Process) reap() {
	defer close(p.done)
	state, err := p.process.Wait()
	if err != nil {
		p.code, p.err = -1, fmt.Errorf("wait for process: %w", err)
		return
	}
	p.code, _ = exitStatus(state)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns the exit code, 128+N for signal N. It may be called by many.
func (p *Process) Wait() (exitCode int, err error) {
	<-p.done
	return p.code, p.err
}

// Signal sends sig to the process alone; one that has ended is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process: %w", err)
	}
	return nil
}

// Kill sends SIGKILL to the process alone, not to its children.
func (p *Process) Kill() error { return p.Signal(os.Kill) }
