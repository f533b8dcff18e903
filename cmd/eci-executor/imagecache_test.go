package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// TestImageCacheCtrlC: Ctrl-C ends the waiting with what goes on in the cloud, and the
// commands that it names show and end that.
func TestImageCacheCtrlC(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	server, err := ecitest.Start(ecitest.Options{Dir: filepath.Join(dir, "eci"), Delays: ecitest.Delays{Cache: time.Hour},
		Images: map[string]ecitest.Image{"127.0.0.1:1/a:1": {Layers: []string{"/"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, server) })
	file := filepath.Join(dir, "eci-executor.toml")
	text := fmt.Sprintf(driverFile, server.URL(), filepath.Join(dir, "state"))
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "helper:1", "127.0.0.1:1/a:1")), 0o600); err != nil {
		t.Fatal(err)
	}
	create := exec.Command("eci-executor", "--config", file, "image-cache", "create", "127.0.0.1:1/a:1")
	var said strings.Builder
	create.Stderr = &said
	out, err := create.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { create.Process.Kill() }) //nolint:errcheck // it may have ended
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "  Creating") {
	}
	if err := create.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	exit := new(exec.ExitError)
	if err := create.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("ended with %v", err)
	}
	_, remedy, found := strings.Cut(said.String(), "End it: eci-executor ")
	if !found || !strings.Contains(said.String(), "goes on being built in the cloud, which is billed") {
		t.Fatalf("it says %q", said.String())
	}
	for _, args := range [][]string{{"image-cache", "list"}, strings.Fields(remedy)} {
		shown, err := exec.Command("eci-executor", append([]string{"--config", file}, args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(shown), strings.Fields(remedy)[2]) {
			t.Errorf("%v: %v\n%s", args, err, shown)
		}
	}
}
