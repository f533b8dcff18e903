package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// atTerminal runs a command with a terminal as stdout and stderr, and returns what that
// was sent.
func atTerminal(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var sent bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&sent, master) //nolint:errcheck // it ends with an error when the terminal is closed
	}()
	run(context.Background(), process{args: append([]string{"eci-executor"}, args...), environ: environ,
		stdin: strings.NewReader(""), stdout: terminal, stderr: terminal})
	terminal.Close()
	<-read
	return sent.String()
}

// A person at a terminal sees what is waited for, and colours; a file has neither.
func TestProgressAtATerminal(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	server, err := startECI(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer finish(t, server)
	file := filepath.Join(dir, "eci-executor.toml")
	text := strings.NewReplacer("endpoint = %q", "endpoint = \""+server.URL()+"\"", "%q", "\""+filepath.Join(dir, "state")+"\"").Replace(driverFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CUSTOM_ENV_CI_RUNNER_VERSION", "19.4.0")
	environ := append(os.Environ(), "TERM=xterm")
	job := filepath.Join(repository("testdata"), "jobs", "simple.json")
	const rewritten = "\r\x1b[K"
	tests := []struct {
		args     []string
		waits    string
		coloured string
	}{
		{[]string{"--config", file, "check"}, "looking at credentials", "\x1b[32mok\x1b[0m       file "},
		{[]string{"--config", file, "ps"}, "asking ECI", ""},
		{[]string{"--config", file, "prepare", "--job", job}, "waiting for the container group", ""},
		{[]string{"--config", filepath.Join(dir, "absent.toml"), "config"}, "", "\x1b[31mERROR\x1b[0m: eci-executor: read configuration"},
	}
	for _, tt := range tests {
		sent := atTerminal(t, environ, tt.args...)
		if tt.waits != "" && !strings.Contains(sent, rewritten+tt.waits+", 0 s") || !strings.Contains(sent, tt.coloured) {
			t.Errorf("%v: no %q, or not %q, in %q", tt.args, tt.waits, tt.coloured, sent)
		}
		if plain := atTerminal(t, append(environ, "NO_COLOR=1"), tt.args...); strings.Contains(plain, "\x1b[3") {
			t.Errorf("%v: NO_COLOR is coloured: %q", tt.args, plain)
		}
		var stdout, stderr bytes.Buffer
		run(context.Background(), process{args: append([]string{"eci-executor"}, tt.args...), environ: environ, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
		if text := stdout.String() + stderr.String(); strings.Contains(text, rewritten+"w") || strings.Contains(text, ", 0 s"+rewritten) || strings.Contains(text, "\x1b[3") || text == "" {
			t.Errorf("%v: a file has what is for a terminal: %q", tt.args, text)
		}
	}
	run(context.Background(), process{args: []string{"eci-executor", "--config", file, "cleanup", "--job", job}, environ: environ,
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard})
}
