package remote

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// A record's line arrives though a child of the shell ends while it waits for room in
// the pipe.
func TestSayOutlivesAChild(t *testing.T) {
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			testneed.Need(t, err)
			const script = `. ./eci-remote-attach.sh
head -c 65536 /dev/zero
cat >/dev/null 3>&- &
exec 3>&-
say '#%s\n' said
`
			command := exec.Command(path, "-c", script)
			if shell == "busybox" {
				command.Args = []string{"busybox", "sh", "-c", script}
			}
			out, outW := pipe(t)
			in, inW := pipe(t)
			command.Stdin, command.Stdout, command.Stderr = in, outW, os.Stderr
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			outW.Close()
			in.Close()
			awaitWrite(t, command.Process.Pid)
			inW.Close() // the child ends
			awaitNoChild(t, command.Process.Pid)
			text, err := io.ReadAll(out)
			if err := command.Wait(); err != nil {
				t.Error(err)
			}
			if err != nil || len(text) != 65536+len("#said\n") || !strings.HasSuffix(string(text), "#said\n") {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		})
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// awaitWrite waits until the process waits for room in a pipe.
func awaitWrite(t *testing.T, pid int) {
	t.Helper()
	awaitProc(t, fmt.Sprintf("/proc/%d/wchan", pid), func(text string) bool { return strings.Contains(text, "pipe_write") })
}

// awaitNoChild waits until no child of the process runs.
func awaitNoChild(t *testing.T, pid int) {
	t.Helper()
	awaitProc(t, fmt.Sprintf("/proc/%d/task/%d/children", pid, pid), func(text string) bool {
		for child := range strings.FieldsSeq(text) {
			if stat, err := os.ReadFile(filepath.Join("/proc", child, "stat")); err == nil && !strings.Contains(string(stat), ") Z ") {
				return false
			}
		}
		return true
	})
}

func awaitProc(t *testing.T, path string, is func(string) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if is(string(text)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays %q", path, text)
		}
	}
}
