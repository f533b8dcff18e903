package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary play another process: "MODE DIR".
const childEnv = "SANDBOX_TEST_CHILD"

// testChild is TestMain's other half: an executor that gets killed, or an
// unprivileged one.
func testChild() (done bool, code int, err error) {
	mode, dir, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch mode {
	case "victim":
		return true, 1, victim(dir)
	case "unprivileged":
		return unprivileged(dir)
	}
	return false, 0, nil
}

// victim starts a group with a container that forks, and an exec, and waits to be killed.
func victim(dir string) error {
	h, err := NewHost(dir)
	if err != nil {
		return err
	}
	g, err := h.CreateGroup(GroupConfig{Name: "v", MemoryBytes: 64 << 20})
	if err != nil {
		return err
	}
	for _, user := range []string{"", "1000:1000"} {
		r, w := io.Pipe()
		cfg := shell("sleep 98765 & sleep 98765 & echo up; wait")
		cfg.User, cfg.Log = user, w
		c, err := g.StartContainer(cfg)
		if err != nil {
			return err
		}
		if _, err := r.Read(make([]byte, 8)); err != nil { // the sleepers are there
			return err
		}
		if _, err := c.Exec(ExecConfig{Args: []string{"sleep", "98765"}}); err != nil {
			return err
		}
	}
	fmt.Println("started")
	select {}
}

func startChild(t *testing.T, mode, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+mode+" "+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestKilledParentLeavesNothing(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	cmd, out := startChild(t, "victim", dir)
	if !out.Scan() || out.Text() != "started" {
		t.Fatalf("victim said %q", out.Text())
	}
	if n := len(processesBelow(t, dir)); n < 8 { // 2 * (sh, 2 sleeps, the exec's)
		t.Errorf("%d processes before the kill", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	h, err := NewHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left := processesBelow(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, groupsDir)); len(entries) != 1 { // the list of cgroups
		t.Errorf("left over below groups: %v", entries)
	}
	for ctrl, cg := range h.cgroups.dirs {
		if entries, _ := filepath.Glob(cg + "/v*"); len(entries) > 0 {
			t.Errorf("cgroup %s: left over: %v", ctrl, entries)
		}
	}
	closeAndCheck(t, h, dir)
}

// The sweep itself, with a process that no Pdeathsig ends and a mount.
func TestSweepFindsProcessesAndMounts(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	h, err := NewHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.CreateGroup(GroupConfig{Name: "g"})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, g, shell("sleep 1000"))
	at := filepath.Join(dir, groupsDir, "g", "left mount")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("t", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, c.Done())
	if st := c.Status(); st.Signal != int(unix.SIGKILL) {
		t.Errorf("status %+v", st)
	}
	closeAndCheck(t, h, dir)
}

func TestHostDirectoryIsExclusive(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	h, err := NewHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewHost(dir); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second host: %v", err)
	}
	closeAndCheck(t, h, dir)
}

func closeAndCheck(t *testing.T, h *Host, dir string) {
	t.Helper()
	cgroups := h.cgroups.dirs
	if err := h.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for _, cg := range cgroups {
		if _, err := os.Stat(cg); err == nil {
			t.Errorf("cgroup %s is left", cg)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left over: %v", entries)
	}
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.point, dir) {
			t.Errorf("mount %s is left", m.point)
		}
	}
}

// processesBelow lists the pids of all containers of a host directory.
func processesBelow(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, e := range entries {
		if e.Name()[0] >= '0' && e.Name()[0] <= '9' && livesBelow(e.Name(), dir) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// unprivileged runs as a plain user: enters a user namespace, then runs a group.
func unprivileged(dir string) (bool, int, error) {
	if done, code, err := EnterUserNamespace(); done {
		return true, code, err
	}
	h, err := NewHost(filepath.Join(dir, "host"))
	if err != nil {
		return true, 1, err
	}
	g, err := h.CreateGroup(GroupConfig{Name: "u"})
	if err != nil {
		return true, 1, err
	}
	cfg := shell("id -u; pwd; cat /etc/hostname; echo x > /tmp/f; cat /shared/in; touch /usr/bin/x 2>/dev/null || echo usr read-only; echo y > /root/f; exec sleep 1000")
	cfg.Layers, cfg.Dir = []string{filepath.Join(dir, "top"), "/"}, "/builds/a"
	cfg.Mounts = []Mount{{Source: filepath.Join(dir, "shared"), Target: "/shared"}}
	log := newLines() // the exec writes to stdout itself, and may be faster than who copies the log
	cfg.Log = log
	c, err := g.StartContainer(cfg)
	if err != nil {
		return true, 1, err
	}
	p, err := c.Exec(ExecConfig{Args: []string{"sh", "-c", "until [ -s /root/f ]; do sleep 0.01; done; cat /tmp/f /root/f; ls /home; unshare -U true 2>/dev/null || echo no user namespace; exit 5"}, Stdout: os.Stdout})
	if err != nil {
		return true, 1, err
	}
	code, err := p.Wait()
	if err != nil {
		return true, 1, err
	}
	if err := h.Close(); err != nil { // ends what writes to the log
		return true, 1, err
	}
	fmt.Print(log)
	return true, code, nil
}

func TestUnprivilegedUser(t *testing.T) {
	needSandbox(t)
	dir, err := os.MkdirTemp("/tmp", "sandbox-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// A copy of this binary where the user can run it.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"", "top", "top/tmp", "top/root", "top/builds", "shared"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, d), 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{"test.bin": self, "shared/in": []byte("from shared\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "test.bin"))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childEnv+"=unprivileged "+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 5 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"0\n/builds/a\nu\nfrom shared\nusr read-only\n", "x\ny\nno user namespace\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "host")); len(entries) > 0 {
		t.Errorf("left over: %v", entries)
	}
}
