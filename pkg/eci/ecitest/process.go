package ecitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// execProcess is a command in a container with our ends of its pipes.
type execProcess struct {
	*sandbox.Process
	stdin  *os.File // nil without stdin
	stdout *os.File
	stderr *os.File // nil with a terminal, or merged into stdout
	tty    bool     // stdin and stdout are the master of a terminal
}

func (p *execProcess) closePipes() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// start runs the command with pipes, or with a terminal.
func (x *execSession) start() (*execProcess, error) {
	if x.tty {
		return x.startTTY()
	}
	return x.startPipes(false)
}

// startMerged runs the command with stderr in stdout.
func (x *execSession) startMerged() (*execProcess, error) { return x.startPipes(true) }

func (x *execSession) startPipes(merged bool) (_ *execProcess, err error) {
	p := &execProcess{}
	cfg := sandbox.ExecConfig{Args: x.args}
	defer func() {
		for _, f := range []*os.File{cfg.Stdin, cfg.Stdout} {
			if f != nil {
				_ = f.Close() // the child has its own
			}
		}
		if cfg.Stderr != nil && cfg.Stderr != cfg.Stdout {
			_ = cfg.Stderr.Close()
		}
		if err != nil {
			p.closePipes()
		}
	}()
	if x.stdin {
		if cfg.Stdin, p.stdin, err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	if p.stdout, cfg.Stdout, err = os.Pipe(); err != nil {
		return nil, err
	}
	if merged {
		cfg.Stderr = cfg.Stdout
	} else if p.stderr, cfg.Stderr, err = os.Pipe(); err != nil {
		return nil, err
	}
	p.Process, err = x.container.Exec(cfg)
	return p, err
}

// startTTY runs the command on a pseudo-terminal, which is its controlling one:
// Ctrl-C signals what runs in the foreground.
func (x *execSession) startTTY() (*execProcess, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open terminal: %w", err), master.Close())
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open terminal: %w", err), master.Close())
	}
	defer slave.Close()
	proc, err := x.container.Exec(sandbox.ExecConfig{Args: x.args, Stdin: slave, Stdout: slave, Stderr: slave, TTY: true})
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	// One file for both directions; closePipes closes it once.
	return &execProcess{Process: proc, stdout: master, tty: true}, nil
}

// resize takes in a message of the resize channel; what it can't read it ignores,
// as the kubelet does.
func (p *execProcess) resize(message []byte) {
	var size struct{ Width, Height uint16 }
	if !p.tty || json.Unmarshal(message, &size) != nil {
		return
	}
	conn, err := p.stdout.SyscallConn() // Fd would make it blocking
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { // fails only where it is closed
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}

// input is where stdin goes; nil without stdin.
func (x *execSession) input(p *execProcess) *os.File {
	if x.tty && x.stdin {
		return p.stdout
	}
	return p.stdin
}
