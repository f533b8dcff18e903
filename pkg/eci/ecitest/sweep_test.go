package ecitest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

const (
	// sweepEnv makes the test binary a server that is to be killed, in the directory that it names.
	sweepEnv = "ECITEST_SERVE_IN"
	// sweepMarker has the argument by which its group's process is known on this machine.
	sweepMarker = "ECITEST_SERVE_MARKER"
)

func TestSweepAfterSIGKILL(t *testing.T) {
	volume := []string{
		"Volume.1.Name", "mem", "Volume.1.Type", "EmptyDirVolume", "Volume.1.EmptyDirVolume.Medium", "Memory",
		"Container.1.VolumeMount.1.Name", "mem", "Container.1.VolumeMount.1.MountPath", "/mem",
	}
	if dir := os.Getenv(sweepEnv); dir != "" {
		s := start(t, ecitest.Options{Dir: dir})
		await(t, s, create(t, s, script("exec sleep "+os.Getenv(sweepMarker), volume...)), status("Running"))
		fmt.Println("serving")
		select {}
	}
	dir, marker := t.TempDir(), fmt.Sprintf("987.%d", os.Getpid())
	cmd := exec.Command(os.Args[0], "-test.run=^TestSweepAfterSIGKILL$")
	cmd.Env = append(os.Environ(), sweepEnv+"="+dir, sweepMarker+"="+marker)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "serving" {
		if strings.Contains(lines.Text(), "SKIP") {
			t.Skip(lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	s := start(t, ecitest.Options{Dir: dir})
	if left, _ := filepath.Glob(filepath.Join(dir, "volumes", "*")); len(left) > 0 {
		t.Errorf("volumes left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sandbox", "groups", "eci-*")); len(left) > 0 {
		t.Errorf("groups left: %v", left)
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if b, err := os.ReadFile(p); err == nil && string(b) == "sleep\x00"+marker+"\x00" {
			t.Errorf("process left: %s", p)
		}
	}
	await(t, s, create(t, s, script("exit 0", volume...)), status("Succeeded"))
}
