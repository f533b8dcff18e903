package ecitest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// dial opens the socket of a command; stdin, if any, goes out at once.
func dial(t *testing.T, uri, stdin string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(-1)
	if stdin != "" {
		if err := conn.Write(t.Context(), websocket.MessageBinary, append([]byte{0}, stdin...)); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// frames reads to the end; each message comes as b (binary) or t (text) and what it holds.
func frames(t *testing.T, conn *websocket.Conn) (all []string, closed websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		kind, b, err := conn.Read(ctx)
		if ctx.Err() != nil {
			t.Fatal("the stream did not end")
		}
		if err != nil {
			return all, websocket.CloseStatus(err)
		}
		mark := map[websocket.MessageType]string{websocket.MessageBinary: "b", websocket.MessageText: "t"}[kind]
		all = append(all, mark+string(b))
	}
}

// faulty gives the address of a command under a rule for execs.
func faulty(t *testing.T, s *ecitest.Server, id, rule, script string) string {
	t.Helper()
	s.SetFaults(ecitest.Faults{Rules: rules(t, rule)})
	defer s.SetFaults(ecitest.Faults{}) // the fault is decided with the address
	return execURI(t, s, id, nil, "/bin/sh", "-c", script)["WebSocketUri"].(string)
}

const lost = websocket.StatusCode(-1) // no close message

func TestExecFaults(t *testing.T) {
	const total = 100_000
	tests := []struct {
		name, rule string
		bytes      int
		closed     websocket.StatusCode
		least      int // messages
	}{
		{"none", "group:pending", total, websocket.StatusNormalClosure, 1},
		{"drop", "exec:drop=77777", 77_777, lost, 1},
		{"drop at once", "exec:drop=0", 0, lost, 0},
		{"small frames", "exec:split=1000,empty-frames", total, websocket.StatusNormalClosure, 200},
		{"merged", "exec:merge", total, websocket.StatusNormalClosure, 1},
		{"end swallowed", "exec:swallow=10", total - 10, websocket.StatusNormalClosure, 1},
		{"text messages", "exec:text", total, websocket.StatusNormalClosure, 1},
	}
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uri := faulty(t, s, id, tt.rule, "head -c 100000 /dev/zero | tr '\\0' x")
			out, messages, closed := stream(t, uri, "")
			if len(out[1]) != tt.bytes || closed != tt.closed || messages < tt.least {
				t.Errorf("%d bytes in %d messages, closed %d", len(out[1]), messages, closed)
			}
		})
	}
}

func TestExecFrames(t *testing.T) {
	tests := []struct {
		name, rule string
		want       []string
	}{
		{"none", "group:pending", []string{"b\x01abc"}},
		{"single bytes", "exec:split=1", []string{"b\x01a", "b\x01b", "b\x01c"}},
		{"text", "exec:text", []string{"t\x01abc"}},
		{"unprefixed", "exec:unprefixed", []string{"babc"}},
		{"empty frames", "exec:empty-frames", []string{"b\x01", "b\x01abc"}},
		{"all of it", "exec:empty-frames,unprefixed,text,split=2", []string{"t", "tab", "t", "tc"}},
	}
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, closed := frames(t, dial(t, faulty(t, s, id, tt.rule, "printf abc"), ""))
			if !slices.Equal(got, tt.want) || closed != websocket.StatusNormalClosure {
				t.Errorf("frames %q, closed %d, want %q", got, closed, tt.want)
			}
		})
	}
}

// A drop can be aimed at a text, which may come in pieces and not be the first.
func TestExecDropFrom(t *testing.T) {
	const script = "printf 'ab\\n#o'; sleep 0.05; printf 'k 1\\n'; sleep 0.05; printf 'cd\\n#ok 2\\n\\n#'"
	tests := []struct {
		name, rule, want string
		closed           websocket.StatusCode
	}{
		{"before it", `exec:drop=0,drop-from="\n#ok"`, "ab", lost},
		{"within it", `exec:drop=2,drop-from="\n#ok"`, "ab\n#", lost},
		{"behind it", `exec:drop=7,drop-from="\n#ok"`, "ab\n#ok 1\n", lost},
		{"the second one", `exec:drop=1,drop-from="\n#ok",drop-from-skip=1`, "ab\n#ok 1\ncd\n", lost},
		{"one that does not come", `exec:drop=0,drop-from="\n#ok",drop-from-skip=2`, "ab\n#ok 1\ncd\n#ok 2\n\n#", websocket.StatusNormalClosure},
	}
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, _, closed := stream(t, faulty(t, s, id, tt.rule, script), "")
			if out[1] != tt.want || closed != tt.closed {
				t.Errorf("%q, closed %d, want %q and %d", out[1], closed, tt.want, tt.closed)
			}
		})
	}
}

// Output is read 32 KiB at once; only merged frames are larger.
func TestMergedFrames(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	largest := func(rule string) (most int) {
		got, _ := frames(t, dial(t, faulty(t, s, id, rule, "head -c 3000000 /dev/zero"), ""))
		for _, f := range got {
			most = max(most, len(f)-2)
		}
		return most
	}
	if n := largest("group:pending"); n > 32<<10 {
		t.Errorf("a frame of %d bytes without the fault", n)
	}
	if n := largest("exec:merge"); n <= 32<<10 {
		t.Errorf("no frame above %d bytes", n)
	}
}

func TestExecStdinFaults(t *testing.T) {
	tests := []struct {
		name, rule, stdin string
		want              string // what the command got
		closed            websocket.StatusCode
	}{
		{"none", "group:pending", "0123456789", "0123456789", websocket.StatusNormalClosure},
		{"swallowed", "exec:stdin-stop=4", "0123456789", "0123", websocket.StatusNormalClosure},
		{"one byte lost", "exec:stdin-lose=4", "0123456789", "012356789", websocket.StatusNormalClosure},
		{"cut", "exec:stdin-cut=4", "0123456789", "0123", lost},
		{"cut at the end", "exec:stdin-cut=10", "0123456789", "0123456789", lost},
		{"cut later", "exec:stdin-cut=11", "0123456789", "0123456789", websocket.StatusNormalClosure},
	}
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// It ends when it has read as many bytes as are to come, or stdin has ended.
			file := "/tmp/" + strings.ReplaceAll(tt.name, " ", "-")
			uri := faulty(t, s, id, tt.rule, fmt.Sprintf("dd bs=1 count=%d of=%s 2>/dev/null; touch %s.done", len(tt.want), file, file))
			if _, closed := frames(t, dial(t, uri, tt.stdin)); closed != tt.closed {
				t.Errorf("closed %d, want %d", closed, tt.closed)
			}
			got := execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", "until test -e "+file+".done; do sleep 0.01; done; cat "+file)
			if got["SyncResponse"] != tt.want {
				t.Errorf("the command got %q, want %q", got["SyncResponse"], tt.want)
			}
		})
	}
}

func TestExecAddressFaults(t *testing.T) {
	tests := []struct{ name, rule, want string }{
		{"handshake refused", "exec:refuse", "but got 502"},
		{"used late", "exec:expired", "but got 403"},
		{"unreachable", "exec:unreachable", "connection refused"},
	}
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uri := faulty(t, s, id, tt.rule, "true")
			_, _, err := websocket.Dial(t.Context(), uri, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, closed := frames(t, dial(t, faulty(t, s, id, "group:pending", "true"), "")); closed != websocket.StatusNormalClosure {
				t.Errorf("the next exec: closed %d", closed)
			}
		})
	}
}

func TestHandshakeRefusedSoOften(t *testing.T) {
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, "exec:refuse,times=2")}})
	id := running(t, s)
	for i := range 3 {
		uri := execURI(t, s, id, nil, "true")["WebSocketUri"].(string)
		conn, _, err := websocket.Dial(t.Context(), uri, nil)
		if refused := err != nil; refused != (i < 2) {
			t.Errorf("handshake %d: %v", i, err)
		}
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
}

func TestSlowHandshake(t *testing.T) {
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, "exec:dial=150ms")}})
	uri := execURI(t, s, running(t, s), nil, "true")["WebSocketUri"].(string)
	begun := time.Now()
	conn, _, err := websocket.Dial(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow()
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("answered after %s", took)
	}
}

func TestExecStart(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		atCall     bool // what the switch says
		want       bool // the command runs before anybody connects
	}{
		{"as the switch says", "group:pending", true, true},
		{"at the call", "exec:start=call", false, true},
		{"at the connection", "exec:start=connect", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Switches: ecitest.Switches{ExecStartsAtCall: tt.atCall}})
			id := running(t, s)
			uri := faulty(t, s, id, tt.rule, "touch /tmp/ran; cat")
			// What runs can be awaited, what does not run can only be looked for.
			seen := "test -e /tmp/ran && echo yes || echo no"
			if tt.want {
				seen = "until test -e /tmp/ran; do sleep 0.01; done; echo yes"
			}
			out := execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", seen)
			if ran := out["SyncResponse"] == "yes\n"; ran != tt.want {
				t.Errorf("ran before the connection: %v, want %v", ran, tt.want)
			}
			conn := dial(t, uri, "x")
			if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "\x01x" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestExecDropEvery(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	for range 2 {
		begun := time.Now()
		if _, closed := frames(t, dial(t, faulty(t, s, id, "exec:drop-every=150ms", "while echo x; do sleep 0.01; done"), "")); closed != lost {
			t.Errorf("closed %d, want a lost connection", closed)
		}
		if took := time.Since(begun); took < 150*time.Millisecond {
			t.Errorf("lost after %s", took)
		}
	}
}

func TestExecIdleFault(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	// Its only output is there before the socket is: no process has to be in time for it.
	uri := faulty(t, s, id, "exec:idle=200ms,start=call", "printf x; touch /tmp/printed; cat")
	syncOutput(t, s, id, "until test -e /tmp/printed; do sleep 0.01; done")
	begun := time.Now()
	got, closed := frames(t, dial(t, uri, ""))
	if !slices.Equal(got, []string{"b\x01x"}) || closed != lost || time.Since(begun) < 200*time.Millisecond {
		t.Errorf("frames %q, closed %d after %s", got, closed, time.Since(begun))
	}
}

// A half-open socket neither sends nor answers pings nor hears stdin, and TCP
// tells nothing.
func TestExecHalfOpen(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := running(t, s)
	conn := dial(t, faulty(t, s, id, "exec:half-open=5", "printf 0123456789; cat >/tmp/heard"), "")
	if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "\x0101234" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("\x00said")); err != nil {
		t.Errorf("writing: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	read := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(ctx)
		read <- err
	}()
	if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v, want no answer", err)
	}
	if err := <-read; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read: %v, want nothing", err)
	}
	out := execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", "until test -e /tmp/heard; do sleep 0.01; done; cat /tmp/heard")
	if out["SyncResponse"] != "" {
		t.Errorf("the command heard %q", out["SyncResponse"])
	}
}
