package remote

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

// shellIsh gives a container that shell as sh.
func shellIsh(t *testing.T, shell string) func(*sandbox.ContainerConfig) {
	return func(c *sandbox.ContainerConfig) {
		// First on PATH, and under the name that makes busybox a shell.
		if err := os.Symlink(shell, filepath.Join(c.Layers[0], "usr/local/bin/sh")); err != nil {
			t.Fatal(err)
		}
	}
}

// inShells runs a test in a group for each shell that images bring as sh. adjust, which
// may be nil, changes its containers further.
func inShells(t *testing.T, adjust func(*sandbox.ContainerConfig), test func(t *testing.T, g *group)) {
	for _, shell := range []string{"/usr/bin/dash", "/usr/bin/bash", "/usr/bin/busybox"} {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			t.Parallel()
			_, err := os.Stat(shell)
			testneed.Need(t, err)
			use := shellIsh(t, shell)
			test(t, newGroup(t, func(c *sandbox.ContainerConfig) {
				use(c)
				if adjust != nil {
					adjust(c)
				}
			}))
		})
	}
}

// Images bring different shells as sh; the script has to work in each.
func TestShells(t *testing.T) {
	inShells(t, nil, func(t *testing.T, g *group) {
		for _, role := range []Role{Helper, Build} {
			result, log, err := g.run(t, role, "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; echo x >/dev/stderr; exit 3")
			if err != nil || result.Status != 3 || strings.Count(log, "\n") != 301 || !strings.HasSuffix(log, "299\nx\n") {
				t.Errorf("%s: status %d, %d lines, error %v", role, result.Status, strings.Count(log, "\n"), err)
			}
			stopMidway(t, g, role)
		}
		g.faulty = func(n int, s *execStream) Stream {
			if n%3 != 2 {
				return &cutter{s, 200}
			}
			return s
		}
		if result, log, err := g.run(t, Build, "seq 100; exit 4"); err != nil || result.Status != 4 || strings.Count(log, "\n") != 100 {
			t.Errorf("resumed: status %d, log %q, error %v", result.Status, log, err)
		}
	})
}

// assigned are the names of variables that a script of ours assigns, but for those with
// the prefix eci_, which are for itself.
func assigned(script string) []string {
	script = regexp.MustCompile(`(?m)^\s*#.*`).ReplaceAllString(script, "")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)(?:^|["\s;({&|!])([a-z_]+)=|\bfor ([a-z_]+)\b`).FindAllStringSubmatch(script, -1) {
		names = append(names, m[1]+m[2])
	}
	for _, m := range regexp.MustCompile(`\bread -r((?: +[a-z_]+)+)`).FindAllStringSubmatch(script, -1) {
		names = append(names, strings.Fields(m[1])...)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "_" || strings.HasPrefix(name, "eci_") })
}

// TestEnvironmentReachesTheScript: whatever an image calls its variables, what PID 1 and
// the warm shell call theirs changes nothing of them.
func TestEnvironmentReachesTheScript(t *testing.T) {
	t.Parallel()
	names := append(assigned(string(script)), "other")
	environment := func(c *sandbox.ContainerConfig) {
		for _, name := range names {
			c.Env = append(c.Env, name+"=the image's $"+name)
		}
	}
	inShells(t, environment, func(t *testing.T, g *group) {
		for _, role := range []Role{Helper, Build} {
			result, log, err := g.run(t, role, "env")
			if err != nil || result.Status != 0 {
				t.Fatalf("%s: status %d, error %v\n%s", role, result.Status, err, log)
			}
			got := strings.Split(log, "\n")
			for _, name := range names {
				if line := name + "=the image's $" + name; !slices.Contains(got, line) {
					t.Errorf("%s: no line %q", role, line)
				}
			}
		}
	})
}
