package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// within gives what is in a directory a name that is short enough for a socket's
// address, which has 108 bytes.
func within(dir string, use func(short string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}

// listen makes the socket in place of one that may be there, in a directory that is
// its user's alone.
func listen(socket string) (*net.UnixListener, error) {
	dir, name := filepath.Split(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Clean(dir), &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR || stat.Mode&0o077 != 0 || int(stat.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s is not a directory of this user's alone", dir)
	}
	var listener *net.UnixListener
	err := within(dir, func(short string) (err error) {
		made := filepath.Join(short, "."+rand.Text()[:8])
		if listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"}); err != nil {
			return err
		}
		listener.SetUnlinkOnClose(false)
		err = os.Chmod(made, 0o600)
		if err == nil {
			err = os.Rename(made, filepath.Join(short, name))
		}
		if err != nil {
			os.Remove(made)  //nolint:errcheck // nobody has it
			listener.Close() //nolint:errcheck // nobody has connected
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the relay's socket: %w", err)
	}
	return listener, nil
}

// ErrGone is that no relay listens.
var ErrGone = errors.New("no relay runs")

// connect connects to the relay of this user.
func connect(socket string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	dir, name := filepath.Split(socket)
	err := within(dir, func(short string) (err error) {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(short, name), Net: "unix"})
		return err
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to the relay: %w", err)
	}
	if who, err := peer(conn); err != nil || int(who.Uid) != os.Geteuid() {
		conn.Close() //nolint:errcheck // nothing was said
		return nil, errors.New("the relay's socket is another user's")
	}
	return conn, nil
}

// Kill ends the relay of a socket, which does not answer, and removes the socket.
func Kill(socket string) {
	if process := relayOf(socket); process != nil {
		process.Kill() //nolint:errcheck // it may have ended
	}
	os.Remove(socket) //nolint:errcheck // it may be gone
}

// relayOf is the relay's process. The kernel's word is of the process that listened
// first: only one that was started for this very socket counts.
func relayOf(socket string) *os.Process {
	conn, err := connect(socket)
	if err != nil {
		return nil
	}
	defer conn.Close() //nolint:errcheck // nothing was said
	who, err := peer(conn)
	if err != nil {
		return nil
	}
	process, err := os.FindProcess(int(who.Pid)) // by a descriptor, so that it stays the same one
	if err != nil {
		return nil
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", who.Pid))
	if words := strings.Split(string(line), "\x00"); err != nil || len(words) < 3 || words[1] != Command || words[2] != socket {
		return nil
	}
	return process
}
