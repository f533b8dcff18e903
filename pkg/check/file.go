package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// file reads the driver's file; every mistake in it is a line.
func file(_ context.Context, w *world) []Line {
	cfg, err := config.Load(w.ConfigFile)
	if err != nil {
		return fileProblems(err)
	}
	client, err := w.NewClient(cfg)
	if err != nil {
		return []Line{failed("Correct endpoint in the driver's file.", "%v", err)}
	}
	w.cfg, w.client = cfg, client
	if open, why := openToOthers(w.ConfigFile, cfg); open {
		return []Line{warning(fmt.Sprintf("chmod 0600 %s, or put the secret into a file of its own.", w.ConfigFile), "%s %s", w.ConfigFile, why)}
	}
	return []Line{ok("%s", w.ConfigFile)}
}

func fileProblems(err error) []Line {
	const advice = "Correct it; eci-executor.toml.example has every key."
	many, isMany := err.(interface{ Unwrap() []error }) // the very error that Load joins
	if !isMany {
		if errors.Is(err, fs.ErrNotExist) {
			return []Line{failed("Copy eci-executor.toml.example there, or name the file with --config before the command.", "%v", err)}
		}
		return []Line{failed(advice, "%v", err)}
	}
	var lines []Line
	for _, e := range many.Unwrap() {
		lines = append(lines, failed(advice, "%v", e))
	}
	return lines
}

// openToOthers tells whether others than the owner can read a secret in the file.
func openToOthers(path string, cfg *config.Config) (bool, string) {
	secret := cfg.Credentials.AccessKeySecret != "" && cfg.Credentials.AccessKeySecretFile == "" || cfg.Credentials.SecurityToken != ""
	for _, r := range cfg.Registries {
		secret = secret || r.Password != "" && r.PasswordFile == ""
	}
	info, err := os.Stat(path)
	if !secret || err != nil || info.Mode().Perm()&0o077 == 0 {
		return false, ""
	}
	return true, fmt.Sprintf("holds a secret and has mode %04o", info.Mode().Perm())
}

// files reads the files of volumes as each prepare does.
func files(_ context.Context, w *world) []Line {
	const advice = "Put it there, readable for the user that the runner runs as, or correct files of that [[volume]]."
	n, err := stages.ReadVolumeFiles(w.cfg)
	switch {
	case err != nil:
		return []Line{failed(advice, "%v", err)}
	case n == 0:
		return nil
	}
	return []Line{ok("%d, readable for this user", n)}
}

// Free space of state_dir below which something should be done, and below which
// nothing works: an attempt's file has some 10 KiB.
const (
	littleSpace = 100 << 20
	noSpace     = 1 << 20
)

// stateDir looks at where the driver keeps what it knows of its groups.
func stateDir(_ context.Context, w *world) []Line {
	dir := w.cfg.StateDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return []Line{futureStateDir(dir)}
	case err != nil:
		return []Line{failed("Run check as the user that gitlab-runner runs as.", "%v", err)}
	case !info.IsDir():
		return []Line{failed("Name a directory in state_dir.", "%s is not a directory", dir)}
	}
	owner, me := int(info.Sys().(*syscall.Stat_t).Uid), os.Geteuid()
	if owner != me {
		return []Line{failed(fmt.Sprintf("Run check as that user if gitlab-runner runs as it; else chown -R %d %s.", me, dir),
			"%s belongs to uid %d, and this is uid %d", dir, owner, me)}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return []Line{warning("chmod 0700 "+dir+".", "%s has mode %04o, and its files name jobs and groups", dir, info.Mode().Perm())}
	}
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		return []Line{failed("Mount it writable, or name another directory in state_dir.", "%s can't be written to: %v", dir, err)}
	}
	return []Line{space(dir)}
}

// futureStateDir is about a directory that the first prepare makes.
func futureStateDir(dir string) Line {
	parent := filepath.Dir(dir)
	for {
		if _, err := os.Stat(parent); err == nil || parent == "/" {
			break
		}
		parent = filepath.Dir(parent)
	}
	err := unix.Access(parent, unix.W_OK|unix.X_OK)
	if info, _ := os.Stat(parent); err == nil && info != nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return failed("Make "+dir+" with mode 0700 for the user that gitlab-runner runs as.", "%s does not exist, and can't be made in %s: %v", dir, parent, err)
	}
	return ok("%s does not exist yet; the first job makes it", dir)
}

func space(dir string) Line {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return failed("Name a directory on a local disk in state_dir.", "%s: %v", dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	switch {
	case free < noSpace:
		return failed("Make room, or name a directory on another disk in state_dir.", "%s has no space left (%d KiB)", dir, free>>10)
	case free < littleSpace:
		return warning("Make room, or name a directory on another disk in state_dir.", "%s has %d MiB left", dir, free>>20)
	}
	return ok("%s, mode 0700, %d MiB free", dir, free>>20)
}
