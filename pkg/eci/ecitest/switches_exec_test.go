package ecitest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// syncOutput runs a script in the group and gives its output.
func syncOutput(t *testing.T, s *ecitest.Server, id, script string) string {
	t.Helper()
	return execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", script)["SyncResponse"].(string)
}

// open dials a script in a new group.
func open(t *testing.T, s *ecitest.Server, script string) (id string, conn *websocket.Conn) {
	t.Helper()
	id = running(t, s)
	return id, dial(t, execURI(t, s, id, nil, "/bin/sh", "-c", script)["WebSocketUri"].(string), "")
}

// rest is all that is still to come, and how it ends.
func rest(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	all, closed := frames(t, conn)
	return fmt.Sprintf("%q %d", all, closed)
}

func say(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("\x00"+text)); err != nil {
		t.Log(err) // what is read afterwards shows whether it should have worked
	}
}

// framesOf looks at the messages of a script.
func framesOf(script string) func(*testing.T, *ecitest.Server) string {
	return func(t *testing.T, s *ecitest.Server) string {
		_, conn := open(t, s, script)
		return rest(t, conn)
	}
}

// afterSilence looks at a socket that says nothing for a while.
func afterSilence(t *testing.T, s *ecitest.Server) string {
	_, conn := open(t, s, "read x; echo $x")
	settled()
	say(t, conn, "x\n")
	return rest(t, conn)
}

// afterDisconnect looks at what became of a script whose socket is lost once it
// has said "on".
func afterDisconnect(script, look string) func(*testing.T, *ecitest.Server) string {
	return func(t *testing.T, s *ecitest.Server) string {
		id, conn := open(t, s, "echo $$ >/tmp/pid; echo on; cat; "+script)
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = conn.CloseNow()
		return syncOutput(t, s, id, look)
	}
}

// resized looks at the size of a terminal after a message of the resize channel.
func resized(t *testing.T, s *ecitest.Server) string {
	id := running(t, s)
	uri := execURI(t, s, id, map[string]string{"TTY": "true"}, "/bin/sh", "-c", "read x; stty size >/tmp/size")["WebSocketUri"].(string)
	conn := dial(t, uri, "")
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("\x04{\"Width\":120,\"Height\":40}")); err != nil {
		t.Fatal(err)
	}
	say(t, conn, "\n")
	rest(t, conn)
	return syncOutput(t, s, id, "cat /tmp/size")
}

// offering offers both subprotocols of Kubernetes to a command that exits with 7, ends
// its stdin as v5 has it, and looks at what comes.
func offering(t *testing.T, s *ecitest.Server) string {
	const script = "read x; echo $x; timeout 1 cat && echo end of stdin; exit 7"
	uri := execURI(t, s, running(t, s), nil, "/bin/sh", "-c", script)["WebSocketUri"].(string)
	conn, response, err := websocket.Dial(t.Context(), uri, &websocket.DialOptions{Subprotocols: []string{"v5.channel.k8s.io", "v4.channel.k8s.io"}})
	if err != nil {
		return fmt.Sprint("handshake ", response.StatusCode)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	say(t, conn, "in\n")
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte{255, 0}); err != nil {
		t.Fatal(err)
	}
	all, closed := frames(t, conn)
	return fmt.Sprintf("%s: %q %d", conn.Subprotocol(), joined(all), closed)
}

// joined are frames without the cuts between two of a channel, which are a matter of time.
func joined(frames []string) []string {
	var all []string
	for _, f := range frames {
		if n := len(all); n > 0 && all[n-1][:2] == f[:2] {
			all[n-1] += f[2:]
			continue
		}
		all = append(all, f)
	}
	return all
}

const whenGone = "read pid </tmp/pid; while test -e /proc/$pid; do sleep 0.01; done; "

func execSwitchTests() []switchTest {
	plain := `: ["b\x01in\n"] 1000`
	status := "b\x03" + `{"details":{"causes":[{"message":"7","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: exit status 7","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}`
	echoed, silent := `["b\x01x\n"] 1000`, `[] -1`
	codeOf := func(args ...string) func(*testing.T, *ecitest.Server) string {
		return func(t *testing.T, s *ecitest.Server) string { return execCode(t, s, running(t, s), nil, args...) }
	}
	syncCode := func(script string) func(*testing.T, *ecitest.Server) string {
		return func(t *testing.T, s *ecitest.Server) string {
			return execCode(t, s, running(t, s), map[string]string{"Sync": "true"}, "/bin/sh", "-c", script)
		}
	}
	return []switchTest{
		{thrown: ecitest.Switches{ExecStartsAtCall: true}, look: startedAtCall, off: "no\n", on: "yes\n"},
		{thrown: ecitest.Switches{ExecAllowedWhilePending: true}, look: execWhilePending, off: "IncorrectStatus", on: ""},
		{
			thrown: ecitest.Switches{ExecKilledAtDisconnect: true}, off: "survived\n", on: "killed\n",
			look: afterDisconnect("touch /tmp/survived", whenGone+"test -e /tmp/survived && echo survived || echo killed"),
		},
		{
			thrown: ecitest.Switches{ExecOrphanOutput: ecitest.OrphanBlock}, off: "0\n", on: "124\n",
			look: afterDisconnect("timeout 2 head -c 200000 /dev/zero; echo $? >/tmp/status", whenGone+"cat /tmp/status"),
		},
		{
			thrown: ecitest.Switches{ExecOrphanOutput: ecitest.OrphanClose}, off: "0\n", on: "141\n",
			look: afterDisconnect("sh -c 'exec head -c 2000000 /dev/zero'; echo $? >/tmp/status", whenGone+"cat /tmp/status"),
		},
		{thrown: ecitest.Switches{ExecClosesAtExit: true}, look: childHoldsOutput, off: `["b\x01late\n"] 1000`, on: "[] 1000"},
		{thrown: ecitest.Switches{ExecErrorChannel: true}, look: framesOf("exit 3"), off: "[] 1000",
			on: `["b\x03command terminated with non-zero exit code: exit status 3"] 1000`},
		{thrown: ecitest.Switches{ExecResizes: true}, look: resized, off: "0 0\n", on: "40 120\n"},
		{thrown: ecitest.Switches{ExecWithoutStdinEndsEarly: true}, look: twoBursts, off: `["b\x01b\n"] 1000`, on: "[] 1000"},
		{thrown: ecitest.Switches{EmptyFirstFrame: true}, look: framesOf("printf x"), off: `["b\x01x"] 1000`, on: `["b\x01" "b\x01x"] 1000`},
		{thrown: ecitest.Switches{ExecTextFrames: true}, look: framesOf("printf x"), off: `["b\x01x"] 1000`, on: `["t\x01x"] 1000`},
		{thrown: ecitest.Switches{ExecNoChannelByte: true}, look: framesOf("printf x"), off: `["b\x01x"] 1000`, on: `["bx"] 1000`},
		{
			thrown: ecitest.Switches{ExecMaxFrame: 16}, off: "[] 1000", on: "[] 1009",
			look: func(t *testing.T, s *ecitest.Server) string {
				_, conn := open(t, s, "dd bs=1 count=31 >/dev/null 2>&1")
				say(t, conn, strings.Repeat("x", 15))
				say(t, conn, strings.Repeat("x", 16))
				return rest(t, conn)
			},
		},
		{
			thrown: ecitest.Switches{ExecURIGood: 50 * time.Millisecond}, off: "<nil>", on: "failed to WebSocket dial: expected handshake response status code 101 but got 403",
			look: func(t *testing.T, s *ecitest.Server) string {
				uri := execURI(t, s, running(t, s), nil, "true")["WebSocketUri"].(string)
				settled()
				conn, _, err := websocket.Dial(t.Context(), uri, nil)
				if err == nil {
					_ = conn.CloseNow()
				}
				return fmt.Sprint(err)
			},
		},
		{thrown: ecitest.Switches{ExecIdle: 100 * time.Millisecond}, look: afterSilence, off: echoed, on: silent},
		{
			thrown: ecitest.Switches{ExecPingsIgnored: true}, also: ecitest.Switches{ExecIdle: time.Second}, off: echoed, on: silent,
			look: func(t *testing.T, s *ecitest.Server) string {
				_, conn := open(t, s, "read x; echo $x")
				return pinged(t, conn, 2*time.Second)
			},
		},
		{thrown: ecitest.Switches{ExecLifetime: 100 * time.Millisecond}, look: afterSilence, off: echoed, on: "[] 1000"},
		{
			thrown: ecitest.Switches{ExecMaxSessions: 1}, off: "<nil>", on: "failed to WebSocket dial: expected handshake response status code 101 but got 503",
			look: func(t *testing.T, s *ecitest.Server) string {
				id, conn := open(t, s, "cat")
				second, _, err := websocket.Dial(t.Context(), execURI(t, s, id, nil, "cat")["WebSocketUri"].(string), nil)
				if err == nil {
					_ = second.CloseNow()
				}
				_ = conn.CloseNow()
				// A socket that is gone makes room for another, as soon as that is noticed.
				for {
					third, _, err := websocket.Dial(t.Context(), execURI(t, s, id, nil, "true")["WebSocketUri"].(string), nil)
					if err == nil {
						_ = third.CloseNow()
						break
					}
				}
				return fmt.Sprint(err)
			},
		},
		{thrown: ecitest.Switches{ExecSubprotocol: ecitest.SubprotocolRefused}, look: offering, off: plain, on: "handshake 400"},
		{
			thrown: ecitest.Switches{ExecSubprotocol: ecitest.SubprotocolV4}, look: offering, off: plain,
			on: fmt.Sprintf("v4.channel.k8s.io: %q 1000", []string{"b\x01in\n", status}),
		},
		{
			thrown: ecitest.Switches{ExecSubprotocol: ecitest.SubprotocolV5}, look: offering, off: plain,
			on: fmt.Sprintf("v5.channel.k8s.io: %q 1000", []string{"b\x01in\nend of stdin\n", status}),
		},
		{thrown: ecitest.Switches{ExecLongCommandAllowed: true}, look: codeOf(strings.Repeat("x", 257)), off: "InvalidParameter.ValueExceeded", on: ""},
		{thrown: ecitest.Switches{ExecCommandBytes: 20}, look: codeOf("echo", "0123456789"), off: "", on: "InvalidParameter.ValueExceeded"},
		{thrown: ecitest.Switches{ExecBashNeedsTTY: true}, look: codeOf("/bin/bash"), off: "", on: "InvalidParameter"},
		{thrown: ecitest.Switches{ExecSyncExitError: "InternalError"}, look: syncCode("echo no; exit 3"), off: "", on: "InternalError"},
		{
			thrown: ecitest.Switches{ExecSyncBytes: 10}, off: "100000", on: "10",
			look: func(t *testing.T, s *ecitest.Server) string {
				return fmt.Sprint(len(syncOutput(t, s, running(t, s), "head -c 100000 /dev/zero | tr '\\0' x")))
			},
		},
		{thrown: ecitest.Switches{ExecSyncLimit: 100 * time.Millisecond}, look: syncCode("sleep 0.5"), off: "", on: "RequestTimeout"},
		{
			thrown: ecitest.Switches{UnknownIDOnExec: "IncorrectStatus"}, off: "InvalidParameter.NotFound InvalidParameter.NotFound", on: "IncorrectStatus IncorrectStatus",
			look: func(t *testing.T, s *ecitest.Server) string {
				return execCode(t, s, "eci-none", nil, "true") + " " + execCode(t, s, running(t, s), map[string]string{"ContainerName": "none"}, "true")
			},
		},
	}
}

func startedAtCall(t *testing.T, s *ecitest.Server) string {
	id := running(t, s)
	execURI(t, s, id, nil, "/bin/sh", "-c", "touch /tmp/ran; cat")
	return syncOutput(t, s, id, "for i in 1 2 3 4 5 6 7 8 9 10; do test -e /tmp/ran && echo yes && exit; sleep 0.1; done; echo no")
}

func execWhilePending(t *testing.T, s *ecitest.Server) string {
	id := create(t, s, script("exec sleep 60", "Container.2.Name", "second", "Container.2.Image", "absent"))
	await(t, s, id, func(g map[string]any) bool { return state(g, 0)["State"] == "Running" })
	return execCode(t, s, id, nil, "true")
}

// childHoldsOutput looks at what comes after the end of a command whose child
// still holds its output; where nothing can come, the socket closes.
func childHoldsOutput(t *testing.T, s *ecitest.Server) string {
	id, conn := open(t, s, "mkfifo /tmp/fifo; (read x </tmp/fifo; echo late) & echo out")
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed := make(chan string, 1)
	go func() { closed <- rest(t, conn) }()
	select {
	case text := <-closed:
		return text
	case <-time.After(time.Second): // the child is waited for
	}
	syncOutput(t, s, id, "echo >/tmp/fifo")
	return <-closed
}

// twoBursts looks at the second output of an exec without stdin.
func twoBursts(t *testing.T, s *ecitest.Server) string {
	id := running(t, s)
	answer := execURI(t, s, id, map[string]string{"Stdin": "false"}, "/bin/sh", "-c", "echo a; until test -e /tmp/go; do sleep 0.01; done; echo b; touch /tmp/went-on")
	conn := dial(t, answer["WebSocketUri"].(string), "")
	if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "\x01a\n" {
		t.Fatalf("%q, %v", b, err)
	}
	syncOutput(t, s, id, "touch /tmp/go")
	text := rest(t, conn)
	syncOutput(t, s, id, "until test -e /tmp/went-on; do sleep 0.01; done")
	return text
}

// pinged pings without a pause for a while, then says x; it gives what comes.
func pinged(t *testing.T, conn *websocket.Conn, d time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for until := time.Now().Add(d); time.Now().Before(until); {
			if conn.Ping(ctx) != nil {
				return
			}
		}
		say(t, conn, "x\n")
	}()
	text := rest(t, conn)
	cancel()
	<-done
	return text
}

func execCode(t *testing.T, s *ecitest.Server, id string, more map[string]string, args ...string) string {
	t.Helper()
	p := execParams(id, more, args...)
	_, code := call(t, s, "ExecContainerCommand", p)
	return code
}
