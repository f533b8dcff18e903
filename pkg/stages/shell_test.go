package stages_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// What goes in comes out, and the exit status is the command's, whatever of the
// frames and of an exec's end is not documented.
func TestShell(t *testing.T) {
	t.Parallel()
	megabyte := strings.Repeat("\x00\x01\x1e\xff\r\n", 175000)
	tests := []struct {
		name        string
		command     []string
		stdin       string
		status      int
		out, stderr string
	}{
		{"a status", []string{"sh", "-c", "echo a; exit 3"}, "", 3, "a\n", ""},
		{"success", []string{"true"}, "", 0, "", ""},
		{"no such command", []string{"no-such-command"}, "", 127, "", "no-such-command"},
		{"stdin ends", []string{"cat"}, "a\nb", 0, "a\nb", ""},
		{"stdin is not read", []string{"true"}, "a\nb", 0, "", ""},
		{"binary", []string{"cat"}, megabyte, 0, megabyte, ""},
		{"stderr is apart", []string{"sh", "-c", "echo a; echo b >&2"}, "", 0, "a\n", "b\n"},
		{"words are as given", []string{"printf", "%s,", "a b", "", "$HOME", "'"}, "", 0, "a b,,$HOME,',", ""},
		{"a shell reads its commands", nil, "echo one\nexit 4\n", 4, "one\n", ""},
		{"a child holds stdout", []string{"sh", "-c", "sleep 300 & exit 5"}, "", 5, "", ""},
	}
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, ecitest.Options{Switches: switches})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					var out, stderr bytes.Buffer
					status, err := w.operator(t, &out, &stderr).Shell(w.context(t), "42", stages.ShellOptions{Command: tt.command, Stdin: strings.NewReader(tt.stdin)})
					if switches.ExecNoChannelByte { // then nothing keeps them apart
						if err != nil || status != tt.status || tt.stderr == "" && out.String() != tt.out {
							t.Errorf("status %d, %v, out %.200q", status, err, out.String())
						}
						return
					}
					if err != nil || status != tt.status || out.String() != tt.out || !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
						t.Errorf("status %d, %v, out %.200q, stderr %q", status, err, out.String(), stderr.String())
					}
				})
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A status that is not known is never taken for one.
func TestShellFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		rules  []string
		change func(*stages.ShellOptions)
		job    string
		err    string
	}{
		{name: "an unknown job", job: "43", err: `has the job id, group id or name "43"`},
		{name: "no such container", change: func(o *stages.ShellOptions) { o.Container = "db" }, err: `has no container "db", but helper, build`},
		{name: "the connection is lost", rules: []string{"exec:drop=100,times=1"}, err: "was lost; what was started there may run on"},
		{name: "the socket is refused", rules: []string{"exec:refuse,times=1"}, err: "refused the connection (HTTP 502)"},
		{name: "no permission", rules: []string{"ExecContainerCommand:error=Forbidden.RAM"}, err: "eci:ExecContainerCommand"},
		{name: "too many words", change: func(o *stages.ShellOptions) { o.Command = make([]string, 15) }, err: "21 words"},
		{name: "a word too long", change: func(o *stages.ShellOptions) { o.Command = []string{strings.Repeat("x", 257)} }, err: "257 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			w.server.SetFaults(faults(t, tt.rules...))
			options := stages.ShellOptions{Command: []string{"sh", "-c", "while :; do echo a line of output; sleep 0.01; done"}, Stdin: strings.NewReader("")}
			if tt.change != nil {
				tt.change(&options)
			}
			job := tt.job
			if job == "" {
				job = "42"
			}
			var out bytes.Buffer
			_, err := w.operator(t, &out, nil).Shell(w.context(t), job, options)
			wantError(t, err, tt.err)
			w.server.SetFaults(ecitest.Faults{})
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A group that ends takes the shell with it, and that is what is said.
func TestShellInAGroupThatEnds(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	id := w.server.Live()[0]
	out := &waiter{text: "ready\n", seen: make(chan struct{})}
	o := w.operator(t, new(bytes.Buffer), nil)
	o.Stdout = out
	done := make(chan error, 1)
	stdin, _ := io.Pipe()
	go func() {
		_, err := o.Shell(w.context(t), id, stages.ShellOptions{Command: []string{"sh", "-c", "echo ready; sleep 300"}, Stdin: stdin})
		done <- err
	}()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatal(err)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
	err := <-done
	wantError(t, err, "container build of container group "+id, "container group "+id)
	if !errors.Is(err, remote.ErrLost) {
		t.Errorf("%v is no loss", err)
	}
}
