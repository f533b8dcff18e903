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

// A lock is a byte of the file .lock in state_dir, which never holds any: the
// kernel lets go of it with the process, however that ends, and there is no file
// of its own that could be left over. Byte 0 is the directory's, each attempt has
// another, and one for its prepare.
const lockFile = ".lock"

var errLocked = errors.New("another process of the driver holds it")

// lockDir waits for its turn to change a file; turns are short.
func (s store) lockDir() (release func(), err error) {
	return s.lock(0, unix.F_WRLCK, unix.F_OFD_SETLKW)
}

// hold says that a stage works on an attempt, and fails with errLocked while
// somebody claims it.
func (s store) hold(record string) (release func(), err error) {
	return s.lock(lockByte(record), unix.F_RDLCK, unix.F_OFD_SETLK)
}

// claim takes an attempt on which no stage works, and fails with errLocked while
// one does.
func (s store) claim(record string) (release func(), err error) {
	return s.lock(lockByte(record), unix.F_WRLCK, unix.F_OFD_SETLK)
}

func lockByte(record string) int64 {
	h := fnv.New64a()
	h.Write([]byte(filepath.Base(record))) // never returns an error
	return 1 + int64(h.Sum64()>>2)         // two attempts on one byte only wait for each other
}

// lock returns a release that may be called in any case.
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
			// Closing alone would leave it to a child that is just being forked.
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
