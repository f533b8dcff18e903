package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// busyboxTools lays busybox over the tools that eci-remote uses, as the default
// helper image (Alpine) has them.
func busyboxTools(t testing.TB) func(c *sandbox.ContainerConfig) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	return func(c *sandbox.ContainerConfig) {
		if c.Name != "helper" {
			return
		}
		for _, tool := range []string{"sh", "dd", "stat", "sha256sum", "cksum", "head", "sleep", "cat", "setsid"} {
			if err := os.Symlink(busybox, filepath.Join(c.Layers[0], "usr/local/bin", tool)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// stagesPerGroup is about what a job has.
const stagesPerGroup = 10

// BenchmarkRun is one script through a Session, in groups of a job's size, each when
// the container is ready for it: between two stages of a job, the runner takes far
// longer than PID 1 with its next seat. The floor, "by hand", is the same script in the
// same container by a bare exec.
func BenchmarkRun(b *testing.B) {
	const script = "echo hello\n"
	first, next := func(int) int { return 1 }, func(n int) int { return n + 1 }
	helpers := map[string]func(*sandbox.ContainerConfig){"Alpine helper": busyboxTools(b), "Debian helper": nil}
	for name, adjust := range helpers {
		b.Run(name, func(b *testing.B) {
			inGroups(b, adjust, next, func(g *group) error {
				session := g.session(b, io.Discard)
				session.Settings = DefaultSettings()
				_, err := session.Run(context.Background(), Job{Role: Build, Shell: "bash", Body: []byte(script)})
				return err
			})
		})
	}
	b.Run("by hand", func(b *testing.B) {
		inGroups(b, nil, first, func(g *group) error {
			stream, err := g.open(context.Background(), Build, []string{"bash", "-c", script})
			if err != nil {
				return err
			}
			defer stream.Close()
			_, err = io.ReadAll(stream)
			return err
		})
	})
}

// awaitSeat waits until the container's n-th warm shell listens.
func (g *group) awaitSeat(b *testing.B, role Role, n int) {
	b.Helper()
	for {
		if pid, err := os.ReadFile(filepath.Join(g.control, fmt.Sprintf("%s.%d.warm", role, n))); err == nil && len(pid) > 1 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func inGroups(b *testing.B, adjust func(*sandbox.ContainerConfig), seat func(n int) int, run func(*group) error) {
	var g *group
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		if n%stagesPerGroup == 0 {
			g = newGroup(b, adjust)
		}
		g.awaitSeat(b, Build, seat(n%stagesPerGroup))
		b.StartTimer()
		if err := run(g); err != nil {
			b.Fatal(err)
		}
	}
}
