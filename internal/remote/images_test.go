package remote

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/passthrough"
	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

const busybox = "/usr/bin/busybox"

// busyboxImage is a root that holds busybox alone, under the names of its tools.
func busyboxImage(t testing.TB) string {
	return busyboxOf(t, "cat", "sleep", "setsid", "seq", "id", "kill", "grep", "ls", "tr", "sed")
}

// busyboxOf is a root that holds busybox alone, as sh and under these names.
func busyboxOf(t testing.TB, tools ...string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	testneed.Need(t, copyFile(busybox, filepath.Join(root, "bin/busybox")))
	for _, tool := range append(tools, "sh") {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", tool)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// fifosApart shows build the control volume through a file system of its own: no FIFO
// leads from there to helper.
func fifosApart(t testing.TB, c *sandbox.ContainerConfig) {
	t.Helper()
	if err := passthrough.Supported(); err != nil {
		t.Skip(err)
	}
	c.Mounts = slices.Clone(c.Mounts) // helper's too
	i := slices.IndexFunc(c.Mounts, func(m sandbox.Mount) bool { return m.Target == ControlDir })
	dir, name := filepath.Split(c.Mounts[i].Source)
	s, err := passthrough.Start(dir, []passthrough.Mount{{Source: name, Target: "shown"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Mounts[i].Source = filepath.Join(dir, "shown")
}

// spins goes on for ever, and afterSpins tells by builtins alone whether it does.
const (
	spins      = "echo $$ >/builds/pid; echo ready; while :; do :; done"
	afterSpins = "read -r pid </builds/pid; { read -r stat </proc/$pid/stat; } 2>/dev/null; case $stat in '' | *') Z '*) echo ended ;; esac; exit 3"
)

// TestImages: nothing is needed of an image but its sh, and nothing of its user; nor of
// the control volume but that it holds files.
func TestImages(t *testing.T) {
	debian := func(testing.TB) string { return "" }
	tests := []struct {
		name  string
		root  func(testing.TB) string // "" = the host's, a Debian
		user  string
		owner string // uid:gid of what it writes; "" = there is no stat
		apart bool   // no FIFO joins it to helper
	}{
		{"an image whose only executable is dash", dashImage, "", "", false},
		{"the same, uid 1000", dashImage, "1000", "", false},
		{"busybox", busyboxImage, "", "", false},
		{"busybox, uid 12345", busyboxImage, "12345", "", false},
		{"Debian", debian, "", "0:0", false},
		{"uid 1000", debian, "1000:1000", "1000:1000", false},
		{"uid 12345 without a passwd entry", debian, "12345:12345", "12345:12345", false},
		{"gid 0", debian, "1000:0", "1000:0", false},
		{"an image whose only executable is dash, FIFOs apart", dashImage, "1000", "", true},
		{"busybox, FIFOs apart", busyboxImage, "", "", true},
		{"Debian, FIFOs apart", debian, "1000:0", "1000:0", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) {
				c.User = tt.user
				if tt.apart {
					fifosApart(t, c)
				}
				if root := tt.root(t); root != "" {
					c.Layers = []string{root}
				}
			}))
			// What helper's scripts make, build's can change.
			if result, log, err := g.run(t, Helper, "umask 0; mkdir /builds/x && echo helper >/builds/x/f"); err != nil || result.Status != 0 {
				t.Fatalf("helper: status %d, log %q, error %v", result.Status, log, err)
			}
			script := "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; echo build >>/builds/x/f && echo mine >/builds/x/g && echo; exit 9"
			result, log, err := g.run(t, Build, script)
			if err != nil || result.Status != 9 || strings.Count(log, "\n") != 501 || !strings.HasSuffix(log, "499\n\n") {
				t.Errorf("status %d, %d lines of log, error %v", result.Status, strings.Count(log, "\n"), err)
			}
			if got := g.outputOf(t, Helper, "cat /builds/x/f"); got != "helper\nbuild" {
				t.Errorf("both wrote %q", got)
			}
			if owner := g.outputOf(t, Helper, "stat -c %u:%g /builds/x/g"); tt.owner != "" && owner != tt.owner {
				t.Errorf("build's file belongs to %s, want %s", owner, tt.owner)
			}
			// A lost connection, and a second script.
			g.faulty = func(n int, s *execStream) Stream {
				if n%2 == 1 {
					return &cutter{s, 150}
				}
				return s
			}
			if result, log, err := g.run(t, Build, "i=0; while [ $i -lt 99 ]; do echo $i; i=$((i+1)); done; exit 4"); err != nil || result.Status != 4 || strings.Count(log, "\n") != 99 {
				t.Errorf("resumed: status %d, log %q, error %v", result.Status, log, err)
			}
			g.faulty = nil
			stopMidwayOf(t, g, Build, spins)
			if result, log, err := g.run(t, Build, afterSpins); err != nil || result.Status != 3 || log != "ended\n" {
				t.Errorf("after a stop: status %d, log %q, error %v", result.Status, log, err)
			}
		})
	}
}

// TestToolsOfTheGroup: no tool is called in helper and build but those that are named
// here, by either transport. Of git nothing is wanted but that it is there.
func TestToolsOfTheGroup(t *testing.T) {
	tools := map[string][]string{
		"build": {"cat", "setsid", "sleep"},
		"helper": {"base64", "cat", "chmod", "cksum", "dd", "gzip", "head", "ln", "ls", "mkdir", "mkfifo", "mv", "rm",
			"setsid", "sha256sum", "sleep", "stat", "touch"},
	}
	nas := t.TempDir()
	var builds string // on the host
	g := newGroup(t, func(c *sandbox.ContainerConfig) {
		builds = c.Mounts[slices.IndexFunc(c.Mounts, func(m sandbox.Mount) bool { return m.Target == "/builds" })].Source
		if c.Name == "helper" {
			c.Args = HelperCommand("/builds", "/nas")
			c.Mounts = append(slices.Clone(c.Mounts), sandbox.Mount{Source: nas, Target: "/nas"})
		}
		// Not busybox as sh, which looks for its own tools first.
		c.Layers = []string{c.Layers[0], dashImage(t), baited(t, tools[c.Name]...), busyboxOf(t, tools[c.Name]...)}
	})
	lossy := func(n int, _ []string, output string) (string, error) {
		if n%3 == 1 {
			return "", errors.New("connection reset by peer")
		}
		return output, nil
	}
	g.faulty = func(n int, s *execStream) Stream {
		if n%2 == 1 {
			return &cutter{s, 150}
		}
		return s
	}
	for _, role := range []Role{Helper, Build} {
		for transport, answered := range map[string]func(int, []string, string) (string, error){"WebSocket": nil, "Sync": lossy} {
			g.answered = answered
			for range 3 {
				result, log, err := g.run(t, role, "i=0; while [ $i -lt 99 ]; do echo $i; i=$((i+1)); done; exit 4")
				if err != nil || result.Status != 4 || strings.Count(log, "\n") != 99 {
					t.Errorf("%s by %s: status %d, log %q, error %v", role, transport, result.Status, log, err)
				}
			}
			stopMidwayOf(t, g, role, "echo ready; while :; do :; done")
		}
	}
	g.answered, g.faulty = nil, nil
	if _, log, err := g.readLog(t, t.Context(), false); err != nil || log != "ready\n" {
		t.Errorf("log %q read, error %v", log, err)
	}
	if names, err := os.ReadFile(filepath.Join(builds, "beyond")); !os.IsNotExist(err) {
		t.Errorf("called beyond them: %q, error %v", names, err)
	}
	g.outputOf(t, Helper, "sed")
	if names, err := os.ReadFile(filepath.Join(builds, "beyond")); err != nil || string(names) != "sed\n" {
		t.Errorf("a call of sed is told as %q, error %v: the test shows nothing", names, err)
	}
}

// baited is a layer of what busybox has beside these tools, and of git: each notes its
// name in /builds/beyond where it is called.
func baited(t testing.TB, tools ...string) string {
	t.Helper()
	list, err := exec.Command(busybox, "--list").Output()
	testneed.Need(t, err)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	const note = "#!/bin/sh\necho \"${0##*/}\" >>/builds/beyond\nexit 1\n"
	for _, name := range append(strings.Fields(string(list)), "git") {
		if slices.Contains(tools, name) || slices.Contains([]string{"sh", "busybox"}, name) {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, "bin", name), []byte(note), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestOrphansAreReaped: PID 1 of build inherits what a job's processes leave.
func TestOrphansAreReaped(t *testing.T) {
	for _, shell := range []string{"/usr/bin/dash", "/usr/bin/bash", "/usr/bin/busybox"} {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			// One after the other: PID 1 has to keep pace with the script. On a busy machine
			// it comes late, and catches up: the script waits for it, with another orphan
			// each time, as the end of one may come just before PID 1 waits.
			_, err := os.Stat(shell)
			testneed.Need(t, err)
			g := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) {
				if err := os.Symlink(shell, filepath.Join(c.Layers[0], "usr/local/bin/sh")); err != nil {
					t.Fatal(err)
				}
			}))
			// Each inner shell dies before its child, which is left to PID 1.
			script := `zombies() {
	for try in $(seq 1200); do n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); [ $n -lt 1000 ] && break; ( : & ) ; sleep 0.05; done
	echo $n
}
i=0; while [ $i -lt 10000 ]; do
	( : & ) ; i=$((i+1)); [ $((i % 2000)) = 0 ] && zombies
done
exit 5`
			result, log, err := g.run(t, Build, script)
			if err != nil || result.Status != 5 {
				t.Fatalf("status %d, log %q, error %v", result.Status, log, err)
			}
			for count := range strings.FieldsSeq(log) {
				if n, err := strconv.Atoi(count); err != nil || n >= 1000 {
					t.Errorf("%s zombies", count)
				}
			}
			const few = `for try in $(seq 1200); do n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); [ $n -lt 10 ] && break; sleep 0.05; done; echo $n`
			if left := g.outputOf(t, Build, few); len(left) != 1 {
				t.Errorf("%s zombies in the end", left)
			}
			t.Logf("zombies after each 2,000: %s", strings.Join(strings.Fields(log), " "))
		})
	}
}
