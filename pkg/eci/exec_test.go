package eci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/testport"
)

// TestExec sees a whole exec: what the API is asked, and that the URI it gives
// is dialled as it is, without subprotocol or extra authentication.
func TestExec(t *testing.T) {
	got := Params{}
	dials := make(chan *http.Request, 2)
	uri := ""
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket" {
			dials <- r
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write(r.Context(), websocket.MessageBinary, []byte("\x01hello"))
			conn.Close(websocket.StatusNormalClosure, "")
			return
		}
		r.ParseForm()
		for key := range r.PostForm {
			if !r.URL.Query().Has(key) {
				got[key] = r.PostForm.Get(key)
			}
		}
		reply(w, 200, map[string]any{"WebSocketUri": uri})
	})
	uri = "ws://" + c.endpoint.Host + "/socket?s=token-1"
	s, err := c.Exec(context.Background(), ExecRequest{GroupID: "eci-1", Container: "build", Command: []string{"sh", "-c", `echo "$A" <&2`}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := io.ReadAll(s); err != nil || string(out) != "hello" {
		t.Errorf("read %q, %v", out, err)
	}
	want := Params{"ContainerGroupId": "eci-1", "ContainerName": "build", "Stdin": "true", "TTY": "false",
		"Command": `["sh","-c","echo \"$A\" \u003c\u00262"]`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("parameters (-want +sent):\n%s", d)
	}
	r := <-dials
	if len(dials) != 0 || r.URL.RawQuery != "s=token-1" || r.Header.Get("Sec-WebSocket-Protocol")+r.Header.Get("Authorization") != "" {
		t.Errorf("dialled %s with %v, and %d times more", r.URL, r.Header, len(dials))
	}
}

// TestExecSync: the command runs without stdin, and its output is the answer.
func TestExecSync(t *testing.T) {
	got := Params{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		for key := range r.PostForm {
			if !r.URL.Query().Has(key) {
				got[key] = r.PostForm.Get(key)
			}
		}
		reply(w, 200, map[string]any{"SyncResponse": "out\nerr\n"})
	})
	out, err := c.ExecSync(context.Background(), ExecRequest{GroupID: "eci-1", Container: "build", Command: []string{"true"}})
	if err != nil || out != "out\nerr\n" {
		t.Errorf("got %q, %v", out, err)
	}
	want := Params{"ContainerGroupId": "eci-1", "ContainerName": "build", "Stdin": "false", "TTY": "false", "Sync": "true", "Command": `["true"]`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("parameters (-want +sent):\n%s", d)
	}
}

// TestExecLimits: a command that ECI would cut or refuse fails here, with a
// number, and without a call.
func TestExecLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name    string
		command []string
		want    string // "" is accepted
	}{
		{"no words", nil, "0 words"},
		{"20 words", slices.Repeat([]string{"x"}, 20), ""},
		{"21 words", slices.Repeat([]string{"x"}, 21), "21 words"},
		{"a word of 256 bytes", []string{long(256)}, ""},
		{"a word of 257 bytes", []string{"sh", long(257)}, "257 bytes"},
		{"a word of 129 letters in 258 bytes", []string{strings.Repeat("é", 129)}, "258 bytes"},
		{"2048 bytes", append(slices.Repeat([]string{long(256)}, 7), long(231)), ""},
		{"2049 bytes", append(slices.Repeat([]string{long(256)}, 7), long(232)), "2049 bytes"},
		{"2048 bytes only when encoded", slices.Repeat([]string{strings.Repeat("<", 200)}, 2), "2407 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				refuse(w, 400, "IncorrectStatus", "The group does not run.")
			})
			_, err := c.Exec(context.Background(), ExecRequest{GroupID: "eci-1", Container: "build", Command: tt.command})
			if tt.want == "" {
				var e *Error
				if !errors.As(err, &e) || e.Code != "IncorrectStatus" || calls.Load() != 1 {
					t.Errorf("%d calls, %v; want the server's answer", calls.Load(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || calls.Load() != 0 {
				t.Errorf("%d calls, %v; want %q", calls.Load(), err, tt.want)
			}
		})
	}
}

// TestRefusedDialLeavesNothingOpen: a stage whose handshakes are refused for hours dials
// every 30 s.
func TestRefusedDialLeavesNothingOpen(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	if _, err := Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")); err == nil || !strings.Contains(err.Error(), "HTTP 502") {
		t.Errorf("got %v", err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the connection stays open")
	}
}

// TestExecDialErrors: whoever has the token has a shell in the job, so it never
// gets into a log.
func TestExecDialErrors(t *testing.T) {
	const token = "token-1234"
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, "bad token in %s", r.URL)
	}))
	t.Cleanup(refusing.Close)
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	closed := "http://" + testport.Closed(t)
	ws := func(url string) string { return "ws" + strings.TrimPrefix(url, "http") + "/exec/?s=" + token }
	tests := []struct {
		name, uri string
		want      string
	}{
		{"nothing listens", ws(closed), "can't be reached"},
		{"refused", ws(refusing.URL), "HTTP 403"},
		{"no handshake in time", ws(hanging.URL), "can't be reached"},
		{"no URI", "", "no usable WebSocketUri (request id REQ-1)"},
		{"no host", "/exec/?s=" + token, "no usable WebSocketUri (request id REQ-1)"},
		{"no URL", "ws://a b/?s=" + token, "no usable WebSocketUri (request id REQ-1)"},
		{"another scheme", "ftp://eci.test/?s=" + token, "can't be reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				reply(w, 200, map[string]any{"RequestId": "REQ-1", "WebSocketUri": tt.uri})
			},
				func(o *Options) {
					if tt.uri == ws(hanging.URL) { // the others answer, on a busy machine in their time
						o.CallTimeout = 2 * time.Second // for the API's answer too
					}
				})
			s, err := c.Exec(context.Background(), ExecRequest{GroupID: "eci-1", Container: "build", Command: []string{"true"}})
			var e *Error
			if s != nil || !errors.As(err, &e) {
				t.Fatalf("got %v, %v", s, err)
			}
			text := fmt.Sprintf("%v %+v %s %v", err, *e, e.Advice(), errors.Unwrap(err))
			if !strings.Contains(text, tt.want) || !strings.Contains(text, "exec in container build of eci-1") {
				t.Errorf("%q is not in %q", tt.want, text)
			}
			if reached := Unreached(err) == ""; reached == strings.Contains(tt.want, "can't be reached") {
				t.Errorf("unreached host %q", Unreached(err))
			}
			if strings.Contains(text, token) || strings.Contains(text, "eci..") {
				t.Errorf("a token or a broken address is in %q", text)
			}
		})
	}
}

// withoutDescriptors does something while this process can open nothing.
func withoutDescriptors(t *testing.T, do func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3 // what is open stays so
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	do()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// TestDialWithoutDescriptors: a host that has none left at the moment is no reason to
// take the WebSocket host for out of reach, for a day.
func TestDialWithoutDescriptors(t *testing.T) {
	uri := socket(t, nil, func(context.Context, *websocket.Conn) {})
	c := newClient(t, "http://eci.test")
	var s *Stream
	var err error
	withoutDescriptors(t, func() { s, err = c.dial(t.Context(), call{op: "exec in"}, uri) })
	if s != nil || err == nil || !strings.HasSuffix(err.Error(), ": too many open files") || Unreached(err) != "" || ClassOf(err) != Retry {
		t.Errorf("got %v, class %v, unreached host %q", err, ClassOf(err), Unreached(err))
	}
	// A name is looked up first, here by the resolver of a driver without cgo, as it is released.
	withoutDescriptors(t, func() { _, err = (&net.Resolver{PreferGo: true}).LookupHost(t.Context(), "eci.invalid") })
	if !errors.Is(lack(err), syscall.EMFILE) {
		t.Errorf("a look-up fails by %v, for a lack of %v", err, lack(err))
	}
}
