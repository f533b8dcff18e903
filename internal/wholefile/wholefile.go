// Package wholefile writes files that others read at any moment and that a kill at any
// moment leaves whole: the old content or the new one. It locks nothing.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"
)

// TempPrefix begins the names of what is not whole yet, and of what a killed process
// has left of it, in the file's own directory.
const TempPrefix = ".tmp-"

// Write does not wait for the disk: a host that loses its power may have lost the file.
func Write(path string, data []byte, mode os.FileMode) error {
	return replace(path, data, mode, func(*os.File) error { return nil })
}

// WriteDurably comes back when the disk has it.
func WriteDurably(path string, data []byte, mode os.FileMode) error {
	if err := replace(path, data, mode, (*os.File).Sync); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func replace(path string, data []byte, mode os.FileMode, sync func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), sync(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // reap removes it
	}
	return err
}
