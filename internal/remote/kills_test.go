package remote

import (
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// TestKillsAllItMay: PID 1 alone outlives that. The run's outcome is not known, and the
// next script runs. What is only stopped goes on.
func TestKillsAllItMay(t *testing.T) {
	inShells(t, nil, killsAll)
	for name, adjust := range map[string]func(*sandbox.ContainerConfig){
		"uid 1000":    func(c *sandbox.ContainerConfig) { c.User = "1000:1000" },
		"dash alone":  func(c *sandbox.ContainerConfig) { c.Layers = []string{dashImage(t)} },
		"FIFOs apart": func(c *sandbox.ContainerConfig) { fifosApart(t, c) },
		"busybox":     func(c *sandbox.ContainerConfig) { c.Layers = []string{busyboxImage(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killsAll(t, newGroup(t, inBuild(adjust)))
		})
	}
}

func killsAll(t *testing.T, g *group) {
	// What a shell's own kill sends to all does not reach itself. A script may be as early
	// as to stop cat before that has written its pid.
	for _, early := range []string{"", "for file in /.eci/control/build.*.cat; do echo >$file; done; "} {
		result, log, err := g.run(t, Build, early+"kill -STOP -1; i=10000; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; exit 3")
		if err != nil || result.Status != 3 || len(log) != 120_000 {
			t.Errorf("stopped: %sstatus %d, %d bytes of log, error %v", early, result.Status, len(log), err)
		}
	}
	_, log, err := g.run(t, Build, "echo a; kill -9 -1; exit 0")
	if err == nil || !strings.Contains(err.Error(), "outcome is not known") || !strings.HasPrefix("a\n", log) {
		t.Errorf("log %q, error %v", log, err)
	}
	if result, log, err := g.run(t, Build, "echo b; exit 4"); err != nil || result.Status != 4 || log != "b\n" {
		t.Errorf("after it: status %d, log %q, error %v", result.Status, log, err)
	}
	stopMidwayOf(t, g, Build, spins)
}
