// Package passthrough shows directories once more, each through a FUSE file system of
// its own. What is read and written there is that of the directory, byte for byte and
// at once, but it is another file system to the kernel: a FIFO or a socket in it does
// not lead to those who open it elsewhere, and the pages of a tmpfs behind it are not
// counted as memory of the process that writes them. The local ECI stands it between
// containers and their volumes where its switches ask for that.
//
// A process of its own serves the mounts, started from the running binary: it works
// with umask 0, rooted in the directory, and ends with whoever started it.
package passthrough

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Mount is one directory and where it is shown, both relative to the Server's.
type Mount struct{ Source, Target string }

// Server is the process behind some mounts.
type Server struct {
	dir    string
	mounts []Mount
	cmd    *exec.Cmd
	said   bytes.Buffer // on stderr: why it died
	hold   io.Closer    // its end is the process's
}

const device = "/dev/fuse"

// Supported is nil where FUSE can be used, or says what is missing.
func Supported() error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("FUSE can't be used here: %w", err)
	}
	return f.Close()
}

// Start mounts each Source below dir on its Target, which it makes. The mounts are in
// the caller's mount namespace, for every user, under the modes of the files.
func Start(dir string, mounts []Mount) (*Server, error) {
	for _, m := range mounts {
		if err := os.MkdirAll(filepath.Join(dir, m.Target), 0o755); err != nil {
			return nil, fmt.Errorf("show %s: %w", m.Source, err)
		}
	}
	s := &Server{dir: dir, mounts: mounts, cmd: exec.Command("/proc/self/exe")}
	s.cmd.Args, s.cmd.Env, s.cmd.Dir = []string{processName}, []string{}, "/"
	s.cmd.Stderr = &s.said
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start passthrough: %w", err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start passthrough: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start passthrough: %w", err)
	}
	s.hold = in
	var told report
	err = json.NewEncoder(in).Encode(order{dir, mounts})
	if err == nil {
		err = json.NewDecoder(out).Decode(&told)
	}
	if err == nil && told.Error != "" {
		err = errors.New(told.Error)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start passthrough: %w", err), s.Close())
	}
	return s, nil
}

// Close unmounts what is still mounted and waits for the process.
func (s *Server) Close() error {
	err := s.hold.Close()
	if err = errors.Join(err, s.cmd.Wait()); err != nil {
		return fmt.Errorf("end passthrough: %w: %.2000s", err, s.said.String())
	}
	return nil
}
