package stages

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// All locks of state_dir are on the file .lock there, each on another byte; the file
// itself stays empty. The kernel releases a lock with the process, however that ends, and
// no lock file can be left over. Byte 0 is for changes of any file; a record, its prepare, or
// a file that one process at a time may work on, has the byte that lockByte gives.
const lockFile = ".lock"

var errLocked = errors.New("another process of the driver holds it")

// lockDir waits for its turn to change a file of state_dir. Turns are short.
func (s store) lockDir() (release func(), err error) {
	return s.lock(0, unix.F_WRLCK, unix.F_OFD_SETLKW)
}

// hold says that a stage works on the attempt of a record; several stages may. It fails
// with errLocked while another process has claimed the record.
func (s store) hold(record string) (release func(), err error) {
	return s.lock(lockByte(record), unix.F_RDLCK, unix.F_OFD_SETLK)
}

// claim takes a file for this process alone. It fails with errLocked while another process
// holds or has claimed it.
func (s store) claim(path string) (release func(), err error) {
	return s.lock(lockByte(path), unix.F_WRLCK, unix.F_OFD_SETLK)
}

// lockByte is the byte of a file, by its name. Should two files have one byte, they only
// wait for each other.
func lockByte(path string) int64 {
	h := fnv.New64a()
	h.Write([]byte(filepath.Base(path))) // never returns an error
	return 1 + int64(h.Sum64()>>2)
}

// lock returns a release that may be called in any case, also with an error.
func (s store) lock(at int64, kind int16, command int) (release func(), err error) {
	nothing := func() {}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nothing, fmt.Errorf("making state_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nothing, fmt.Errorf("locking state_dir: %w", err)
	}
	// Locks of the open file, not of the process: goroutines exclude each other too.
	if err = setLock(f, command, kind, at); err == nil {
		return func() {
			// A child that is just being forked has the file open too, and keeps the lock
			// until its exec: so closing the file alone does not end it.
			setLock(f, unix.F_OFD_SETLK, unix.F_UNLCK, at) //nolint:errcheck // closing does it then
			f.Close()                                      // nothing was written
		}, nil
	}
	f.Close() // nothing was written
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = errLocked
	}
	return nothing, fmt.Errorf("locking state_dir: %w", err)
}

func setLock(f *os.File, command int, kind int16, at int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
