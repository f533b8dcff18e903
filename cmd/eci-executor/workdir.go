package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// workDir makes a temporary directory for a command that runs a local ECI in it, and removes
// those of commands that were killed, with all that runs and is mounted there. The
// command has a lock on its own, which ends with the process; remove must be called at its
// end.
func (c commands) workDir(command string) (dir string, remove func() error, err error) {
	prefix := "eci-executor-" + command + "-"
	left, err := fs.Glob(os.DirFS(os.TempDir()), prefix+"*")
	if err != nil {
		return "", nil, err
	}
	for _, name := range left {
		dir := filepath.Join(os.TempDir(), name)
		if err := sweepWorkDir(dir); err != nil {
			fmt.Fprintf(c.stderr, "What a killed %s left in %s can't be removed: %v\n", command, dir, err) //nolint:errcheck // it is for a person
		}
	}
	for {
		if dir, err = os.MkdirTemp("", prefix); err != nil {
			return "", nil, err
		}
		lock, err := lockWorkDir(dir)
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		if lock != nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
		} // else another process that just begins has taken the directory for a killed one's
	}
}

// sweepWorkDir removes a directory whose process was killed.
func sweepWorkDir(dir string) error {
	lock, err := lockWorkDir(dir)
	if lock == nil || err != nil {
		return err
	}
	return errors.Join(ecitest.Sweep(dir), lock.Close())
}

// lockWorkDir locks a directory. It returns nil where another process has the lock or has
// removed the directory, and where that is not this user's: in a directory for temporary
// files anybody may make one of such a name.
func lockWorkDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var opened, named unix.Stat_t
	err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.Fstat(int(f.Fd()), &opened), unix.Lstat(dir, &named))
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.ENOENT), err == nil && (opened.Ino != named.Ino || int(opened.Uid) != os.Geteuid()):
		f.Close() // nothing was written
		return nil, nil
	case err != nil:
		f.Close() // nothing was written
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}
