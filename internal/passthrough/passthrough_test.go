package passthrough

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// show mounts the directory volume twice, for a test that ends with nothing mounted.
func show(t *testing.T) (dir string, s *Server) {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err) // FUSE is the machine's: there is nothing to install
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "volume"), 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := Start(dir, []Mount{{"volume", "a"}, {"volume", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
			t.Errorf("mounts are left (%v)", err)
		}
	})
	return dir, s
}

// sh runs a script with the two mounts as working directories a and b, within a minute.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "timeout", "60", "sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return string(out)
}

// TestSameFiles: what one mount does the other sees at once.
func TestSameFiles(t *testing.T) {
	dir, _ := show(t)
	tests := []struct{ name, script, want string }{
		{"what was not there a moment ago", "cat b/new 2>/dev/null; echo text >a/new; cat b/new volume/new", "text\ntext\n"},
		{"what grows", "exec 3<a/new; cat <&3; echo more >>b/new; cat <&3; stat -c %s a/new", "text\nmore\n10\n"},
		{"what is written over", "echo TEXT 1<>b/new; cat a/new", "TEXT\nmore\n"},
		{"what is claimed", "set -C; for i in a b; do { echo $i >$i/claim; } 2>/dev/null && echo $i; done; cat volume/claim", "a\na\n"},
		{"what is renamed", "mv a/new a/old; ls b", "claim\nold\n"},
		{"what is removed", "rm b/old; ls a", "claim\n"},
		{"the caller's umask", "umask 0; echo >a/open; umask 077; echo >a/closed; mkdir b/own; stat -c %a volume/*", "644\n600\n666\n700\n"},
		{"a link out of it", "ln -s /etc/hostname a/link; readlink b/link; rm a/link; ls b/link 2>/dev/null || echo gone", "/etc/hostname\ngone\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sh(t, dir, tt.script); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestOwners: whoever makes a file has it, and may do what its mode says and no more.
func TestOwners(t *testing.T) {
	dir, _ := show(t)
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	if err := os.Chmod(filepath.Join(dir, "volume"), 0o777); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if strings.HasPrefix(d, os.TempDir()+"/") {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	as := func(script string) string {
		cmd := exec.CommandContext(t.Context(), "timeout", "60", "sh", "-c", script)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	sh(t, dir, "umask 077; echo root >a/root")
	if got := as("echo user >a/user; cat b/user; stat -c %u:%g volume/user; cat a/root"); got != "user\n1000:1000\ncat: a/root: Permission denied\n" {
		t.Errorf("%q", got)
	}
}

// TestFIFOsApart: a FIFO joins those who open it in one mount, and no others.
func TestFIFOsApart(t *testing.T) {
	dir, _ := show(t)
	if got := sh(t, dir, "mkfifo a/fifo; test -p b/fifo && { echo through >a/fifo & } ; cat a/fifo"); got != "through\n" {
		t.Errorf("in one mount: %q", got)
	}
	// Whoever opens it in b, not to wait, meets nobody, though it is held open in a.
	if got := sh(t, dir, "exec 3<>a/fifo; echo word >&3; timeout 1 sh -c 'read x <b/fifo; echo $x'; read x <&3; echo kept $x"); got != "kept word\n" {
		t.Errorf("between two: %q", got)
	}
}

// TestEndsWithItsStarter: nothing is left of a process whose starter was killed.
func TestEndsWithItsStarter(t *testing.T) {
	dir, s := show(t)
	if err := s.hold.Close(); err != nil { // as the kernel does for a process that is gone
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil && !strings.Contains(string(mounts), dir) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("it is still mounted")
		}
	}
	s.hold = nothing{}
}

type nothing struct{}

func (nothing) Close() error { return nil }

// TestCannotMount: what goes wrong is told, and nothing is left.
func TestCannotMount(t *testing.T) {
	dir, _ := show(t)
	if _, err := Start(dir, []Mount{{"absent", "c"}}); err == nil || !strings.Contains(err.Error(), "serve absent") {
		t.Errorf("error %v", err)
	}
}
