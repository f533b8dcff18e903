package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is the word by which a program is asked to be a relay:
// PROGRAM relay SOCKET INODE UNTIL, with the listening socket as descriptor 3.
const Command = "relay"

const listener = 3 // its descriptor in the relay

// passed are the environment variables that the relay gets: those that a dial depends on,
// and none of the job's.
func passed() []string {
	return []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}
}

// Start starts program as the relay of a socket. The socket can be used at once. The relay
// outlives this process: it has a session of its own, its directory is /, and of our open
// files it has the socket alone. It ends by itself at until.
func Start(program, socket string, until time.Time) error {
	l, inode, err := listen(socket)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the relay has its own
	file, err := l.File()
	if err != nil {
		return fmt.Errorf("the relay's socket: %w", err)
	}
	defer file.Close()
	if err := keepDescriptors(); err != nil {
		return fmt.Errorf("keeping descriptors from the relay: %w", err)
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{"eci-executor", Command, socket, fmt.Sprint(inode), fmt.Sprint(until.Unix())},
		Dir: "/", Env: environment(os.Environ()), ExtraFiles: []*os.File{file},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the relay: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // it outlives us, or is of no use any more
	return nil
}

// keepDescriptors keeps our children from inheriting the files that we have inherited
// ourselves, because the runner did not close them. It marks each by itself, because
// close_range can mark them all only since Linux 5.11, and Alibaba Cloud Linux 3 has 5.10.
func keepDescriptors() error {
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= listener {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// environment is the relay's environment. The relay has little to do and should cost little,
// hence GOMAXPROCS and GOGC. There is no GOMEMLIMIT: with one below what the Go runtime needs
// itself, it looks for pages to give back all the time, at five times the cost of the rest.
func environment(ours []string) []string {
	env := []string{"GOMAXPROCS=1", "GOGC=25"}
	for _, variable := range ours {
		for _, name := range passed() {
			if strings.HasPrefix(variable, name+"=") {
				env = append(env, variable)
			}
		}
	}
	return env
}

// Main is the life of a process that Start has started, with the words after Command.
func Main(ctx context.Context, words []string, dial func(ctx context.Context, address string) (Exec, error)) error {
	if len(words) != 3 {
		return errors.New("the relay is started by the driver itself")
	}
	inode, inodeErr := strconv.ParseUint(words[1], 10, 64)
	until, err := strconv.ParseInt(words[2], 10, 64)
	if err = errors.Join(inodeErr, err); err != nil {
		return fmt.Errorf("the relay's command line: %w", err)
	}
	unix.CloseOnExec(listener)
	file := os.NewFile(listener, words[0])
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("the relay has no socket: %w", err)
	}
	file.Close() // l has its own
	own, ok := l.(*net.UnixListener)
	if !ok {
		return errors.New("the relay's socket is of another kind")
	}
	own.SetUnlinkOnClose(false)
	server := Server{Dial: dial, Settings: DefaultSettings(), Until: time.Unix(until, 0), Socket: words[0], Inode: inode}
	return server.Serve(ctx, own)
}
