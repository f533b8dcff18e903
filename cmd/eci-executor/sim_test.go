package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

// simProcess is a running sim.
type simProcess struct {
	*exec.Cmd
	file     string // its driver's file
	url      string
	stateDir string
	rest     chan string // what it prints after that
	stderr   *bytes.Buffer
}

// startSim runs the command and takes its driver's file from what it prints.
func startSim(t *testing.T, args ...string) *simProcess {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	s := &simProcess{Cmd: exec.Command("eci-executor", append([]string{"sim", "--listen", "127.0.0.1:0"}, args...)...),
		file: filepath.Join(t.TempDir(), "eci-executor.toml"), rest: make(chan string, 1), stderr: new(bytes.Buffer)}
	s.Stderr = s.stderr
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill() }) // an error says that it has ended
	var text strings.Builder
	lines := bufio.NewReader(out)
	for !strings.Contains(text.String(), "mount_path") {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, text.String(), s.stderr)
		}
	}
	go func() {
		rest, _ := io.ReadAll(lines)
		s.rest <- string(rest)
	}()
	if err := os.WriteFile(s.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.stateDir = cfg.EndpointURL(), cfg.StateDir
	return s
}

// end sends a signal and gives what was printed since the driver's file.
func (s *simProcess) end(t *testing.T, signal os.Signal) (string, error) {
	t.Helper()
	if err := s.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	text := <-s.rest
	return text, s.Wait()
}

// stage runs a stage of the job "quotes" against the sim.
func (s *simProcess) stage(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := exec.Command("eci-executor", append([]string{"--config", s.file}, args...)...)
	command.Env = append(os.Environ(), "CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0")
	out, err := command.CombinedOutput()
	return string(out), err
}

// A client that goes before its answers have come, as a driver that is killed does, breaks
// a pipe of sim, which is not that of its output.
func TestSimOutlivesItsClients(t *testing.T) {
	s := startSim(t, "--image", "host")
	job := filepath.Join(repository("testdata"), "jobs", "quotes.json")
	if out, err := s.stage(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for range 10 {
		client, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// The first answer finds nobody, the later ones a connection that was reset.
		_, err = io.WriteString(client, strings.Repeat("GET / HTTP/1.1\r\nHost: sim\r\n\r\n", 10))
		if err := errors.Join(err, client.Close()); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo lives"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := s.stage(t, "run", "--job", job, script, "build_script"); err != nil || out != "lives\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := s.stage(t, "cleanup", "--job", job); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if text, err := s.end(t, syscall.SIGINT); err != nil || !strings.HasSuffix(text, "# 0 container groups left\n") {
		t.Errorf("%v: %s%s", err, text, s.stderr)
	}
}

// demo | head ends demo and leaves nothing.
func TestDemoWithoutAReader(t *testing.T) {
	testneed.Need(t, sandbox.Supported())
	t.Setenv("TMPDIR", t.TempDir())
	demo := exec.Command("eci-executor", "demo")
	out, err := demo.StdoutPipe()
	if err == nil {
		err = demo.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = demo.Process.Kill() }) // an error says that it has ended
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := demo.Wait(); err == nil {
		t.Error("a demo that nobody has seen ends well")
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "eci-executor-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// What a sim that was killed has left goes with the next one's start, and nothing of one
// that lives.
func TestSimAfterAKilledOne(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	job := filepath.Join(repository("testdata"), "jobs", "quotes.json")
	killed, lives := startSim(t, "--image", "host"), startSim(t, "--image", "host")
	for _, s := range []*simProcess{killed, lives} {
		if out, err := s.stage(t, "prepare", "--job", job); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if _, err := killed.end(t, syscall.SIGKILL); err == nil {
		t.Error("a killed sim ends well")
	}
	next := startSim(t)
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "eci-executor-sim-*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%d directories are left, want those of the two that live: %q (%v)", len(left), left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	dead, _, _ := strings.Cut(strings.TrimPrefix(killed.stateDir, os.TempDir()+"/"), "/")
	if err != nil || dead == "" || bytes.Contains(mounts, []byte(dead)) {
		t.Errorf("something is mounted in %q (%v):\n%s", dead, err, mounts)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo lives"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := lives.stage(t, "run", "--job", job, script, "build_script"); err != nil || out != "lives\n" {
		t.Errorf("%v\n%s", err, out)
	}
	for _, s := range []*simProcess{lives, next} {
		if text, err := s.end(t, syscall.SIGINT); err != nil || s.stderr.Len() > 0 || !strings.HasSuffix(text, "# 0 container groups left\n") {
			t.Errorf("%v: %s%s", err, text, s.stderr)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "eci-executor-*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A runner pointed at sim by what it prints runs a job, through faults and under
// the hostile profile; Ctrl-C leaves nothing.
func TestSim(t *testing.T) {
	dir := t.TempDir()
	s := startSim(t, "--profile", "hostile", "--latency", "5ms", "--image", "host", "--dir", dir, "--seed", "7",
		"--fault", "CreateContainerGroup:error=503,times=1", "--fault", "exec:drop=200,times=1")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("seq 100; echo kept >/cache/file"), 0o700); err != nil {
		t.Fatal(err)
	}
	job := filepath.Join(repository("testdata"), "jobs", "quotes.json")
	if out, err := s.stage(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintf(&want, "%d\n", i+1)
	}
	if out, err := s.stage(t, "run", "--job", job, script, "build_script"); err != nil || out != want.String() {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := s.end(t, syscall.SIGINT)
	if err != nil || s.stderr.Len() > 0 {
		t.Errorf("%v: %s", err, s.stderr)
	}
	if text != "\n# 1 container groups deleted\n# 0 container groups left\n" {
		t.Errorf("it said %q", text)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, "nas", "_sim.ap-northeast-1.nas.aliyuncs.com", "cache", "file")); err != nil || string(kept) != "kept\n" {
		t.Errorf("the NAS directory holds %q, %v", kept, err)
	}
}

func TestSimTellsWhatItServes(t *testing.T) {
	s := startSim(t, "--seed", "7", "--fault", "*:error=503,probability=0.5", "--fault", "group:pending")
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Local ECI at " + s.url + ", profile docs; Ctrl-C ends it.\n", "# Faults, --seed 7:\n",
		"#   *:error=503/ServiceUnavailable,probability=0.5\n#   group:pending\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text, err := s.end(t, syscall.SIGTERM); err != nil || text != "\n# 0 container groups deleted\n# 0 container groups left\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// An image can be a root file system, and the helper's gitlab-runner a file.
func TestSimImages(t *testing.T) {
	root := t.TempDir()
	for _, args := range [][]string{{"mkdir", "-p", filepath.Join(root, "bin")}, {"cp", "/bin/busybox", filepath.Join(root, "bin", "sh")}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			testneed.Need(t, fmt.Errorf("%w: %s", err, out))
		}
	}
	runner := filepath.Join(t.TempDir(), "runner")
	if err := os.WriteFile(runner, []byte("#!/bin/sh\necho from a file\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startSim(t, "--image", "host="+root, "--gitlab-runner", runner)
	job := filepath.Join(repository("testdata"), "jobs", "quotes.json")
	if out, err := s.stage(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, tt := range []struct{ stage, script, want string }{
		{"build_script", "echo /*", "/bin /builds"},
		{"get_sources", "gitlab-runner --version", "from a file\n"},
	} {
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte(tt.script), 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := s.stage(t, "run", "--job", job, script, tt.stage); err != nil || !strings.HasPrefix(out, tt.want) {
			t.Errorf("%s: %q, %v", tt.stage, out, err)
		}
	}
	if out, err := s.stage(t, "cleanup", "--job", job); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.end(t, syscall.SIGINT); err != nil {
		t.Error(err)
	}
}

// A job runs in images of an OCI layout, and in one of a registry.
func TestSimPulls(t *testing.T) {
	says := func(text string) v1.Image {
		return testimage.Busybox(t, map[string]string{"from": text + "\n"}, nil)
	}
	r := testimage.NewRegistry(t, false, "", "")
	named, unnamed := t.TempDir(), t.TempDir()
	testimage.WriteLayout(t, named, map[string]v1.Image{"images.example/build:1": says("a layout")})
	testimage.WriteLayout(t, unnamed, map[string]v1.Image{"": says("a layout without names")})
	saved, err := os.ReadFile(filepath.Join(repository("testdata"), "jobs", "quotes.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, image, want string
		args              []string
	}{
		{"a layout", "images.example/build:1", "a layout\n", []string{"--layout", named}},
		{"a layout that is named", "host", "a layout without names\n", []string{"--image", "host=" + unnamed}},
		{"a registry", r.Push(t, "build:1", says("a registry")), "a registry\n", []string{"--pull"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startSim(t, tt.args...)
			text, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			script, job := filepath.Join(dir, "script"), filepath.Join(dir, "job.json")
			for path, content := range map[string]string{
				s.file: string(text) + "[pull]\nplain_http = [\"" + r.Host + "\"]\n", script: "cat /from",
				job: strings.Replace(string(saved), `"name": "host"`, `"name": "`+tt.image+`"`, 1),
			} {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := s.stage(t, "prepare", "--job", job); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := s.stage(t, "run", "--job", job, script, "build_script"); err != nil || out != tt.want {
				t.Errorf("%q, %v", out, err)
			}
			if out, err := s.stage(t, "cleanup", "--job", job); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if text, err := s.end(t, syscall.SIGINT); err != nil || !strings.Contains(text, "\n# 0 container groups left\n") {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// A terminal that is closed, and a reader of stdout that goes, end sim and demo as Ctrl-C
// does: directories and mounts are gone.
func TestEndsWithItsTerminal(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	job := filepath.Join(repository("testdata"), "jobs", "simple.json")
	s := startSim(t, "--image", "host")
	if out, err := s.stage(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text, err := s.end(t, syscall.SIGHUP); err != nil || text != "\n# 1 container groups deleted\n# 0 container groups left\n" {
		t.Errorf("%q, %v", text, err)
	}
	demo := exec.Command("eci-executor", "demo")
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	var status *exec.ExitError
	if err := demo.Wait(); !errors.As(err, &status) || !status.Exited() {
		t.Errorf("demo: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "eci-executor-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
