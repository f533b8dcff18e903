//go:build qemu

package nasmount

import (
	"bufio"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// A guest is a Linux kernel under qemu (no KVM needed) with busybox and the modules
// of NFSv3 and 4, which runs a script as init and talks over its serial line. It reaches
// this host's loopback addresses as 10.0.2.2.
type guest struct {
	in  io.Writer
	out *bufio.Scanner
}

// kernelDir holds an unpacked Debian package linux-image-*-cloud-amd64; .ci/run
// makes it.
func kernelDir() string {
	if dir := os.Getenv("ECI_EXECUTOR_TEST_KERNEL"); dir != "" {
		return dir
	}
	cache, _ := os.UserCacheDir()
	return filepath.Join(cache, "eci-executor-test", "kernel")
}

// newGuest boots script, with the commands of busybox and those built from the
// folders of tools, by name. The test is skipped where there is no qemu or no kernel,
// but not in CI.
func newGuest(t *testing.T, script string, tools ...string) *guest {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	testneed.Need(t, err)
	busybox, err := exec.LookPath("busybox")
	testneed.Need(t, err)
	kernels, _ := filepath.Glob(filepath.Join(kernelDir(), "boot", "vmlinuz-*"))
	if len(kernels) != 1 {
		testneed.Need(t, fmt.Errorf("%d kernels in %s, want one", len(kernels), kernelDir()))
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	programs := map[string]string{"busybox": busybox}
	for _, tool := range tools {
		programs[filepath.Base(tool)] = build(t, tool)
	}
	if err := writeInitrd(initrd, programs, script); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	cmd := exec.CommandContext(ctx, qemu, "-M", "q35", "-m", "256", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
		"-kernel", kernels[0], "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
		"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return &guest{in, bufio.NewScanner(out)}
}

// build compiles a program that needs no library of the guest.
func build(t *testing.T, folder string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(folder))
	cmd := exec.Command("go", "build", "-o", path, "./"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// await returns the lines up to the first that begins with prefix, and what follows
// the prefix in it.
func (g *guest) await(t *testing.T, prefix string) (before []string, rest string) {
	t.Helper()
	for g.out.Scan() {
		line := strings.TrimRight(g.out.Text(), "\r")
		t.Log(line)
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return before, strings.TrimSpace(rest)
		}
		before = append(before, line)
	}
	t.Fatalf("the guest ended before %q: %v", prefix, g.out.Err())
	return nil, ""
}

func (g *guest) say(t *testing.T, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(g.in, word); err != nil {
		t.Fatal(err)
	}
}

const guestInit = `#!/bin/busybox sh
busybox() { /bin/busybox "$@"; }
busybox mkdir -p /proc /dev /tmp /bin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
busybox --install /bin
export PATH=/bin
stty -echo
echo # what the firmware left on the line
for module in /modules/*; do insmod "$module" || echo "no $module"; done
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
`

func writeInitrd(path string, programs map[string]string, script string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	w := &cpioWriter{w: z}
	w.file("init", []byte(guestInit+script+"\npoweroff -f\n"))
	w.dir("bin")
	for name, from := range programs {
		w.copy("bin/"+name, from)
	}
	w.dir("modules")
	modules, err := moduleFiles(kernelDir())
	if err != nil {
		return err
	}
	order, err := withDependencies(modules, "virtio_pci", "virtio_net", "nfsv3", "nfsv4", "nfsd")
	if err != nil {
		return err
	}
	for i, name := range order {
		w.copy(fmt.Sprintf("modules/%02d-%s", i, name), modules[name])
	}
	w.header("TRAILER!!!", 0, 0)
	return errors.Join(w.err, z.Close(), f.Close())
}

// moduleFiles finds the kernel's modules by name.
func moduleFiles(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return found, err
}

// withDependencies lists modules in the order of loading. What is not a file is
// built in.
func withDependencies(files map[string]string, names ...string) (order []string, err error) {
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		path, ok := files[name]
		if !ok || seen[name] {
			return nil
		}
		seen[name] = true
		f, err := elf.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Section(".modinfo").Data()
		if err != nil {
			return err
		}
		for field := range strings.SplitSeq(string(info), "\x00") {
			if list, ok := strings.CutPrefix(field, "depends="); ok {
				for dependency := range strings.SplitSeq(list, ",") {
					if err := add(strings.ReplaceAll(dependency, "-", "_")); err != nil {
						return err
					}
				}
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// cpioWriter writes the format that the kernel unpacks at boot ("newc",
// Documentation/driver-api/early-userspace/buffer-format.rst). It keeps the first
// error.
type cpioWriter struct {
	w   io.Writer
	ino int
	err error
}

func (w *cpioWriter) header(name string, mode, size int) {
	w.ino++
	w.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		w.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name), 110+len(name)+1)
}

func (w *cpioWriter) write(data []byte, size int) {
	if w.err == nil {
		_, w.err = w.w.Write(append(data, make([]byte, -size&3)...))
	}
}

func (w *cpioWriter) dir(name string) { w.header(name, 0o040755, 0) }

func (w *cpioWriter) file(name string, data []byte) {
	w.header(name, 0o100755, len(data))
	w.write(data, len(data))
}

func (w *cpioWriter) copy(name, from string) {
	data, err := os.ReadFile(from)
	w.err = errors.Join(w.err, err)
	w.file(name, data)
}
