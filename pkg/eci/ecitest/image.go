package ecitest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// HostImage makes, in dir, a small layer with the directories that a job writes
// to, and gives an image of it above the host's own root: whatever is installed
// here is installed there. The layer belongs to the caller, so that the image
// works unprivileged too, where the host's /tmp or /root can't be taken over.
func HostImage(dir string) (Image, error) {
	for name, mode := range map[string]os.FileMode{
		"": 0o755, "tmp": 0o777 | os.ModeSticky, "root": 0o700, "builds": 0o777, "cache": 0o777, "home": 0o755,
		"usr": 0o755, "usr/local": 0o755, "usr/local/bin": 0o755, "etc": 0o755, "var": 0o755, "var/tmp": 0o777 | os.ModeSticky,
		"run": 0o755, "opt": 0o755, "srv": 0o755, "mnt": 0o755,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return Image{}, fmt.Errorf("host image: %w", err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			return Image{}, fmt.Errorf("host image: %w", err)
		}
	}
	// dir itself may have closed parents; the layer is reached by root alone.
	if _, err := os.Stat("/etc/passwd"); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644); err != nil {
			return Image{}, fmt.Errorf("host image: %w", err)
		}
	}
	path := os.Getenv("PATH")
	setDefault(&path, defaultPath)
	return Image{Layers: []string{dir, "/"}, Env: []string{"PATH=" + path}, Cmd: []string{"/bin/sh"}}, nil
}

// stopSignal is what ends the image's program; TERM where it names none that exists.
func (i Image) stopSignal() syscall.Signal {
	name := strings.ToUpper(i.StopSignal)
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s
	}
	return syscall.SIGTERM
}
