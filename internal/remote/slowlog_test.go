package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/passthrough"
	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// TestLogOfASlowDisk: a write of the log that sleeps, as it does through FUSE and
// virtiofs, is waited for. Who writes looks then as who waits for a script's output.
func TestLogOfASlowDisk(t *testing.T) {
	if err := passthrough.Supported(); err != nil {
		t.Skip(err)
	}
	logs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(logs, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := passthrough.Start(logs, []passthrough.Mount{{Source: "real", Target: "shown"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	disk := child(t)
	var builds string
	g := newGroup(t, func(c *sandbox.ContainerConfig) {
		for i := range c.Mounts {
			switch c.Mounts[i].Target {
			case LogDir:
				c.Mounts[i].Source = filepath.Join(logs, "shown")
			case "/builds":
				builds = c.Mounts[i].Source
			}
		}
	})
	log := &stopper{at: "ready\n", stopped: make(chan struct{}), stop: func() { signal(t, disk, syscall.SIGSTOP) }}
	go func() {
		<-log.stopped
		touch(t, filepath.Join(builds, "go"))
		await(t, filepath.Join(builds, "over"))
		// A supervisor that believes the script's output to be written says so by now.
		time.Sleep(300 * time.Millisecond)
		signal(t, disk, syscall.SIGCONT)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := g.session(t, log).Run(ctx, Job{Role: Build, Shell: "bash",
		Body: []byte("echo ready; until [ -e /builds/go ]; do sleep 0.01; done; echo last; true >/builds/over; exit 3")})
	if err != nil || result.Status != 3 || log.String() != "ready\nlast\n" {
		t.Errorf("status %d, log %q, error %v", result.Status, log, err)
	}
}

// stopper stops something once the log has come so far.
type stopper struct {
	bytes.Buffer
	at      string
	stop    func()
	stopped chan struct{}
}

func (s *stopper) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if s.stop != nil && strings.Contains(s.String(), s.at) {
		s.stop()
		s.stop = nil
		close(s.stopped)
	}
	return n, err
}

// child is the only process that this one has started and that runs.
func child(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, file := range files {
		list, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread of an earlier test's group has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, strings.Fields(string(list))...)
	}
	if len(children) != 1 {
		t.Fatalf("children %v, want the one that serves the disk", children)
	}
	pid, err := strconv.Atoi(children[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	if err := syscall.Kill(pid, s); err != nil {
		t.Error(err)
	}
}

func touch(t *testing.T, path string) {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Error(err)
	}
}

// await waits for a file.
func await(t *testing.T, path string) {
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(until) {
			t.Errorf("no %s", path)
			return
		}
	}
}

// TestClockSetBack: what a script prints after the clock of its group was set back, as by
// NTP, is older than the reader's last look, and comes all the same.
func TestClockSetBack(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute // another exec would have a stamp of its own
	first := marker{text: "first\n", seen: make(chan struct{})}
	second := marker{text: "second\n", seen: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := g.session(t, io.MultiWriter(&first, &second)).Run(ctx, Job{Role: Build, Shell: "sh",
			Body: []byte("echo first; until [ -e /builds/1 ]; do sleep 0.05; done; echo second; until [ -e /builds/2 ]; do sleep 0.05; done")})
		ended <- err
	}()
	first.await(t, ended)
	g.outputOf(t, Helper, `cd /.eci/logs; until [ "$(echo *.stamp)" -nt build.1.log ]; do sleep 0.05; done; touch -d @"$(($(date +%s) + 3600))" *.stamp; true >/builds/1`)
	select {
	case <-second.seen:
		g.outputOf(t, Helper, "true >/builds/2")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	case err := <-ended:
		t.Errorf("the second line did not come: %v", err)
	}
}
