package testimage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// debianBase is what a job's shell needs beside the packages asked for: no more than
// a script of the runner calls.
const debianBase = "usr-is-merged base-files base-passwd bash coreutils dash findutils grep sed"

// debianLayout is part of the key of an unpacked root: change it with what unpack does.
const debianLayout = "1"

// Debian gives the directory of a root file system with Debian's packages and what
// they depend on, for an image's lowest layer. They are downloaded and unpacked once
// per machine, into the user's cache; no maintainer script runs, so what those would
// have made (alternatives, certificates) is missing. Where it can't be had, the test is
// skipped, except in CI, where it fails.
func Debian(t testing.TB, packages ...string) string {
	t.Helper()
	root, err := debianRoot(packages)
	testneed.Need(t, err)
	return root
}

func debianRoot(packages []string) (root string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "cache") // no HOME, as in some CI systems
	}
	dir := filepath.Join(cache, "eci-executor-test", "debian")
	if err := os.MkdirAll(dir, 0o700); err != nil { // it holds programs with set-user-id bits
		return "", fmt.Errorf("images of Debian's packages: %w", err)
	}
	release, err := os.ReadFile("/etc/debian_version")
	if err != nil {
		return "", fmt.Errorf("images of Debian's packages: this is no Debian: %w", err)
	}
	major, _, _ := bytes.Cut(bytes.TrimSpace(release), []byte("."))
	key := sha256.Sum256(fmt.Append(nil, debianLayout, major, runtime.GOARCH, debianBase, packages))
	root = filepath.Join(dir, fmt.Sprintf("%s-%x", packages[0], key[:6]))

	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("images of Debian's packages: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	work := filepath.Join(dir, "work") // what is there was left by a killed test
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("images of Debian's packages: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	files, err := downloadDebian(filepath.Join(dir, "lists"), work, packages)
	if err != nil {
		return "", err
	}
	if err := unpackDebian(filepath.Join(work, "root"), files); err != nil {
		return "", err
	}
	return root, os.Rename(filepath.Join(work, "root"), root)
}

// downloadDebian has apt fetch the packages, and all they depend on as if nothing were
// installed, into work. It leaves apt's own state alone but for its sources, of which it
// takes Debian's.
func downloadDebian(lists, work string, packages []string) ([]string, error) {
	sources := "/etc/apt/sources.list.d/debian.sources"
	if _, err := os.Stat(sources); errors.Is(err, fs.ErrNotExist) {
		sources = "/etc/apt/sources.list"
	}
	archives := filepath.Join(work, "archives")
	for _, d := range []string{filepath.Join(lists, "partial"), filepath.Join(archives, "partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("download packages: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "status"), nil, 0o600); err != nil {
		return nil, fmt.Errorf("download packages: %w", err)
	}
	options := []string{"-q", "-y"}
	for name, value := range map[string]string{
		"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "-", "Dir::State::lists": lists,
		"Dir::State::status": filepath.Join(work, "status"), "Dir::Cache": work, "Dir::Cache::archives": archives,
		"APT::Sandbox::User": "", "APT::Install-Recommends": "false", "Acquire::Languages": "none", "Acquire::Retries": "3",
	} {
		options = append(options, "-o", name+"="+value)
	}
	if err := runApt(slices.Concat(options, []string{"update"})...); err != nil {
		return nil, err
	}
	install := slices.Concat(options, []string{"--download-only", "install"}, strings.Fields(debianBase), packages)
	if err := runApt(install...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(archives, "*.deb"))
}

// unpackDebian unpacks packages into root, and makes what the base's maintainer
// scripts would have: the merged /usr, sh, and the users.
func unpackDebian(root string, files []string) error {
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
		if err := os.Symlink(filepath.Join("usr", d), filepath.Join(root, d)); err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
	}
	for _, f := range files {
		// Not dpkg-deb -x: that would replace the links by directories.
		script := `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink`
		if err := runTool("bash", "-o", "pipefail", "-c", script, "unpack", f, root); err != nil {
			return err
		}
	}
	if err := os.Symlink("dash", filepath.Join(root, "bin", "sh")); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("unpack packages: %w", err)
	}
	for _, name := range []string{"passwd", "group"} {
		content, err := os.ReadFile(filepath.Join(root, "usr/share/base-passwd", name+".master"))
		if err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), content, 0o644); err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
	}
	return nil
}

// runApt asks three times: a mirror that is brought up to date meanwhile gives lists and
// packages that don't fit each other, which apt's own retries don't heal.
func runApt(args ...string) (err error) {
	for try := range 3 {
		time.Sleep(time.Duration(try) * 5 * time.Second)
		if err = runTool("apt-get", args...); err == nil {
			return nil
		}
	}
	return err
}

func runTool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[len(args)-1], err, bytes.TrimSpace(out))
	}
	return nil
}
