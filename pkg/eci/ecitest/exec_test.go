package ecitest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// running creates a group and waits until it runs.
func running(t *testing.T, s *ecitest.Server) string {
	t.Helper()
	id := create(t, s, script("trap 'exit 0' TERM; sleep 1000 & wait"))
	await(t, s, id, status("Running"))
	return id
}

func execURI(t *testing.T, s *ecitest.Server, id string, more map[string]string, args ...string) map[string]any {
	t.Helper()
	answer, code := call(t, s, "ExecContainerCommand", execParams(id, more, args...))
	if code != "" {
		t.Fatalf("exec: %s", code)
	}
	return answer
}

func execParams(id string, more map[string]string, args ...string) map[string]string {
	command, _ := json.Marshal(args)
	p := map[string]string{"ContainerGroupId": id, "ContainerName": "build", "Command": string(command), "TTY": "false"}
	maps.Copy(p, more)
	return p
}

// stream dials, sends stdin and reads to the end; by channel what came, and the close status (-1 = cut).
func stream(t *testing.T, uri, stdin string) (out map[byte]string, messages int, closed websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	if stdin != "" {
		if err := conn.Write(ctx, websocket.MessageBinary, append([]byte{0}, stdin...)); err != nil {
			t.Fatal(err)
		}
	}
	out = map[byte]string{}
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal("the stream did not end")
			}
			return out, messages, websocket.CloseStatus(err)
		}
		messages++
		if len(b) > 0 {
			out[b[0]] += string(b[1:])
		}
	}
}

func TestExec(t *testing.T) {
	tests := []struct {
		name     string
		switches ecitest.Switches
		script   string
		stdin    string
		want     map[byte]string
	}{
		{"both channels", ecitest.Switches{}, "echo out; echo err >&2; exit 3", "", map[byte]string{1: "out\n", 2: "err\n"}},
		{"stdin", ecitest.Switches{}, "read x; echo got $x", "hello\n", map[byte]string{1: "got hello\n"}},
		{"error channel", ecitest.Switches{ExecErrorChannel: true, EmptyFirstFrame: true}, "exit 3", "",
			map[byte]string{1: "", 3: "command terminated with non-zero exit code: exit status 3"}},
		{"started at the call", ecitest.Switches{ExecStartsAtCall: true}, "echo out", "", map[byte]string{1: "out\n"}},
		{"closed at exit", ecitest.Switches{ExecClosesAtExit: true}, "sleep 60 & echo out", "", map[byte]string{1: "out\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Switches: tt.switches})
			uri := execURI(t, s, running(t, s), nil, "/bin/sh", "-c", tt.script)["WebSocketUri"].(string)
			out, _, closed := stream(t, uri, tt.stdin)
			if len(out) != len(tt.want) || closed != websocket.StatusNormalClosure {
				t.Errorf("got %q, closed %d", out, closed)
			}
			for channel, want := range tt.want {
				if out[channel] != want {
					t.Errorf("channel %d: %q, want %q", channel, out[channel], want)
				}
			}
			if _, _, err := websocket.Dial(t.Context(), uri, nil); err == nil {
				t.Error("the address could be used twice")
			}
		})
	}
}

func TestExecIdleAndPing(t *testing.T) {
	s := start(t, ecitest.Options{Switches: ecitest.Switches{ExecIdle: time.Second}})
	id := running(t, s)
	uri := execURI(t, s, id, nil, "sleep", "2.5")["WebSocketUri"].(string)
	if _, _, closed := stream(t, uri, ""); closed != -1 {
		t.Errorf("a silent socket: closed %d, want a lost connection", closed)
	}
	uri = execURI(t, s, id, nil, "sleep", "2.5")["WebSocketUri"].(string)
	conn, _, err := websocket.Dial(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	ended := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(t.Context())
		ended <- err
	}()
	pings := time.NewTicker(30 * time.Millisecond)
	defer pings.Stop()
	for {
		select {
		case err := <-ended:
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("with pings: %v, want a normal end", err)
			}
			return
		case <-pings.C:
			_ = conn.Ping(t.Context()) // its failure shows in ended
		}
	}
}

func TestExecSurvivesDisconnect(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	uri := execURI(t, s, id, nil, "/bin/sh", "-c", "echo on; read x; head -c 200000 /dev/zero; touch /tmp/survived")["WebSocketUri"].(string)
	conn, _, err := websocket.Dial(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, b, err := conn.Read(t.Context()); err != nil || !bytes.Equal(b, []byte("\x01on\n")) {
		t.Fatalf("%q, %v", b, err)
	}
	_ = conn.CloseNow()
	out := execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", "until test -e /tmp/survived; do sleep 0.02; done; echo yes; echo err >&2")
	if out["SyncResponse"] != "yes\nerr\n" {
		t.Errorf("%v", out)
	}
}

func TestExecTTY(t *testing.T) {
	s := start(t, ecitest.Options{})
	uri := execURI(t, s, running(t, s), map[string]string{"TTY": "true"}, "/bin/sh", "-c", "test -t 0 && test -t 1 && echo tty")["WebSocketUri"].(string)
	if out, _, _ := stream(t, uri, ""); out[1] != "tty\r\n" {
		t.Errorf("%q", out)
	}
}

func TestExecContainerCommand(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	words := func(n int) string {
		text, _ := json.Marshal(strings.Split(strings.Repeat("true ", n-1)+"true", " "))
		return string(text)
	}
	x := func(n int) string { return `["true","` + strings.Repeat("x", n) + `"]` }
	runTable(t, s, "ExecContainerCommand", pairs("ContainerGroupId", id, "ContainerName", "build", "Command", `["true"]`), []actionTest{
		{"the base", nil, "200"},
		{"plain text", pairs("Command", "/bin/true"), "200"},
		{"20 words", pairs("Command", words(20)), "200"},
		{"21 words", pairs("Command", words(21)), "400 InvalidParameter.ValueExceeded"},
		{"word of 256", pairs("Command", x(256)), "200"},
		{"word of 257", pairs("Command", x(257)), "400 InvalidParameter.ValueExceeded"},
		{"256 characters of two bytes", pairs("Command", `["true","`+strings.Repeat("é", 256)+`"]`), "200"},
		{"broken JSON", pairs("Command", `["x"`), "400 InvalidParameter"},
		{"no words", pairs("Command", `[]`), "400 InvalidParameter"},
		{"no command", pairs("Command", ""), "400 MissingParameter"},
		{"no group", pairs("ContainerGroupId", ""), "400 MissingParameter"},
		{"no container", pairs("ContainerName", ""), "400 MissingParameter"},
		{"unknown group", pairs("ContainerGroupId", "eci-none"), "404 InvalidParameter.NotFound"},
		{"group of another region", pairs("RegionId", "cn-hangzhou"), "404 InvalidParameter.NotFound"},
		{"unknown container", pairs("ContainerName", "none"), "404 InvalidParameter.NotFound"},
		{"sync", pairs("Sync", "true"), "200"},
		{"sync with a terminal", pairs("Sync", "true", "TTY", "true"), "400 InvalidParameter"},
		{"sync of bash", pairs("Sync", "true", "Command", "/bin/bash"), "400 InvalidParameter"},
		{"bash without a terminal", pairs("Command", `["/bin/bash"]`), "200"},
	})
	ended := create(t, s, script("exit 0"))
	await(t, s, ended, status("Succeeded"))
	runTable(t, s, "ExecContainerCommand", pairs("ContainerGroupId", ended, "ContainerName", "build", "Command", `["true"]`), []actionTest{
		{"ended group", nil, "400 IncorrectStatus"},
	})
}
