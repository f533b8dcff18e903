package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// within calls use with a short name of a directory, by a descriptor: a socket's address has
// room for 108 bytes, and the path of state_dir may be longer.
func within(dir string, use func(short string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}

// listen makes the socket, in place of one that may be there, in a directory that belongs to
// this user alone. By the inode its file can be told from another relay's at the same path,
// for as long as the listener is open.
func listen(socket string) (listener *net.UnixListener, inode uint64, err error) {
	dir, name := filepath.Split(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Clean(dir), &stat); err != nil {
		return nil, 0, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR || stat.Mode&0o077 != 0 || int(stat.Uid) != os.Geteuid() {
		return nil, 0, fmt.Errorf("%s is not a directory of this user's alone", dir)
	}
	err = within(dir, func(short string) (err error) {
		made := filepath.Join(short, "."+rand.Text()[:8])
		if listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"}); err != nil {
			return err
		}
		listener.SetUnlinkOnClose(false)
		err = os.Chmod(made, 0o600)
		if err == nil {
			err = unix.Lstat(made, &stat)
		}
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
		return nil, 0, fmt.Errorf("making the relay's socket: %w", err)
	}
	return listener, stat.Ino, nil
}

// ErrGone means that no relay listens at the socket.
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

// Kill kills the relays that were started for a socket, whatever they are doing, and removes
// the socket. It finds them by their command lines: the kernel tells who listens at a socket
// only once that process has begun to.
func Kill(socket string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err != nil || !isRelay(pid, socket) {
			continue
		}
		process, err := os.FindProcess(pid) // holds a pidfd, so that the second look is at the process that is killed
		if err == nil && isRelay(pid, socket) {
			process.Kill() //nolint:errcheck // it may have ended
		}
	}
	os.Remove(socket) //nolint:errcheck // it may be gone
}

// isRelay tells whether a process of this user was started as the relay of a socket.
func isRelay(pid int, socket string) bool {
	file := fmt.Sprintf("/proc/%d/cmdline", pid)
	var stat unix.Stat_t
	if err := unix.Stat(file, &stat); err != nil || int(stat.Uid) != os.Geteuid() {
		return false
	}
	line, err := os.ReadFile(file)
	words := strings.Split(string(line), "\x00")
	return err == nil && len(words) > 2 && words[1] == Command && words[2] == socket
}
