package remote

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// Helper opens a NAS directory that is new to the job's user, leaves one alone that
// holds something, and says once in the job's log what it can't do.
func TestNASDirectories(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs directories of another user, as a squashed export has them")
	}
	top := t.TempDir()
	var mounts []sandbox.Mount
	for _, name := range []string{"new", "kept", "squashed", "closed"} {
		dir := filepath.Join(top, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		mounts = append(mounts, sandbox.Mount{Source: dir, Target: "/nas/" + name, ReadOnly: name == "closed"})
	}
	if err := os.WriteFile(filepath.Join(top, "kept", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(top, "squashed"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	g := newGroup(t, func(c *sandbox.ContainerConfig) {
		c.Mounts = slices.Concat(c.Mounts, mounts)
		if c.Name == "helper" {
			c.Args = HelperCommand("/builds", "/nas/new", "/nas/kept", "/nas/squashed", "/nas/closed")
		} else {
			c.User = "1000:1000"
		}
	})
	_, log, err := g.run(t, Build, "for d in new kept squashed; do { echo x >/nas/$d/x; } 2>/dev/null && echo $d; done")
	if err != nil || log != "new\nsquashed\n" {
		t.Errorf("the job's user could write to %q, %v", log, err)
	}
	const warnings = "Warning: the new NAS directory /nas/squashed belongs to uid 65534, not to root: where its permission group squashes root, files there can't change their owner\n" +
		"Warning: root may not write to the NAS directory /nas/closed: its permission group squashes root, or allows reading alone\n"
	for i, want := range []string{warnings + "1\n", "1\n"} {
		if _, log, err = g.run(t, Helper, "echo 1"); err != nil || log != want {
			t.Errorf("helper script %d: log %q, %v, want %q", i, log, err, want)
		}
	}
}

// TestHelperThatDoesNotGetReady: a helper that hangs, as over a NAS that does not answer,
// ends the stage with a sentence.
func TestHelperThatDoesNotGetReady(t *testing.T) {
	t.Parallel()
	g := newGroup(t, func(c *sandbox.ContainerConfig) {
		if c.Name == "helper" {
			c.Layers = image(t, map[string]string{"usr/local/bin/gitlab-runner": "#!/bin/sh\nsleep 300\n"})
		}
	})
	var log bytes.Buffer
	session := g.session(t, &log)
	session.Settings.Heartbeat = 50 * time.Millisecond // 20 of them are waited
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := session.Run(ctx, Job{Role: Helper, Shell: "sh", Body: []byte("echo a")})
	if err == nil || !strings.Contains(err.Error(), "helper does not get ready") || log.Len() > 0 {
		t.Errorf("log %q, error %v", log.String(), err)
	}
}
