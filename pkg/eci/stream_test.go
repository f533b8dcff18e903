package eci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
)

// socket runs peer as the other end of an exec's connection, which ends with it.
func socket(t *testing.T, accept *websocket.AcceptOptions, peer func(ctx context.Context, conn *websocket.Conn)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, accept)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		peer(r.Context(), conn)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// connect dials uri with the given intervals; the stream is closed in the end.
func connect(t *testing.T, uri string, ping, idle time.Duration) *Stream {
	t.Helper()
	c := newClient(t, "http://eci.test", func(o *Options) { o.PingInterval, o.IdleTimeout = ping, idle })
	s, err := c.dial(context.Background(), call{op: "exec in"}, uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestStreamFrames: ECI documents no framing, so every kind that a server of
// its family sends must give the process's output and nothing else.
func TestStreamFrames(t *testing.T) {
	const binary, text = websocket.MessageBinary, websocket.MessageText
	type frame struct {
		kind websocket.MessageType
		data string
	}
	long := strings.Repeat("e", 3000)
	tests := []struct {
		name           string
		frames         []frame
		stdout, stderr string
	}{
		{"prefixed", []frame{{binary, "\x01one "}, {binary, "\x01two"}}, "one two", ""},
		{"no frame", nil, "", ""},
		{"empty ones", []frame{{binary, ""}, {binary, "\x01a"}, {binary, ""}, {binary, "\x01b"}}, "ab", ""},
		{"prefix only", []frame{{binary, "\x01"}, {binary, "\x02"}, {binary, "\x03"}, {binary, "\x01a"}}, "a", ""},
		{"text", []frame{{text, "\x01a"}, {text, "\x02e"}, {binary, "\x01b"}}, "ab", "e"},
		{"unprefixed", []frame{{binary, "#a"}, {binary, "\x01b"}, {binary, ""}, {text, "\x02c"}}, "#a\x01b\x02c", ""},
		{"unprefixed after an empty one", []frame{{binary, ""}, {binary, "#a"}}, "#a", ""},
		{"data that looks like a prefix", []frame{{binary, "\x01\x01\x02\x00"}}, "\x01\x02\x00", ""},
		{"stderr, status and stdin", []frame{{binary, "\x02warn "}, {binary, "\x03exit 1 "}, {binary, "\x00echo"}, {binary, "\x01a"}}, "a", "warn exit 1 echo"},
		{"stderr keeps its last 4 KiB", []frame{{binary, "\x02x" + long}, {binary, "\x03" + long + "end"}, {binary, "\x01a"}},
			"a", (long + long + "end")[6003-4096:]},
		{"stderr in one large frame", []frame{{binary, "\x02" + long + long + "end"}}, "", (long + long + "end")[6003-4096:]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uri := socket(t, nil, func(ctx context.Context, conn *websocket.Conn) {
				for _, f := range tt.frames {
					if err := conn.Write(ctx, f.kind, []byte(f.data)); err != nil {
						t.Error(err)
					}
				}
				conn.Close(websocket.StatusNormalClosure, "")
			})
			s := connect(t, uri, time.Minute, time.Minute)
			got, err := io.ReadAll(iotest.OneByteReader(s))
			if err != nil || string(got) != tt.stdout {
				t.Errorf("stdout %q (%v), want %q", got, err, tt.stdout)
			}
			if s.Stderr() != tt.stderr {
				t.Errorf("stderr is %d bytes, want %d: %.80q", len(s.Stderr()), len(tt.stderr), s.Stderr())
			}
		})
	}
}

// TestStreamEnds: a socket that was cut must never look like an end, or a job
// that still runs is taken for done.
func TestStreamEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(conn *websocket.Conn)
		eof  bool
	}{
		{"normal close", func(conn *websocket.Conn) { conn.Close(websocket.StatusNormalClosure, "") }, true},
		{"cut", func(conn *websocket.Conn) { conn.CloseNow() }, false},
		{"going away", func(conn *websocket.Conn) { conn.Close(websocket.StatusGoingAway, "restart") }, false},
		{"internal error", func(conn *websocket.Conn) { conn.Close(websocket.StatusInternalError, "agent") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uri := socket(t, nil, func(ctx context.Context, conn *websocket.Conn) {
				conn.Write(ctx, websocket.MessageBinary, []byte("\x01last words"))
				tt.end(conn)
			})
			s := connect(t, uri, time.Minute, time.Minute)
			buffer := make([]byte, 64)
			n, err := s.Read(buffer)
			if string(buffer[:n]) != "last words" || err != nil {
				t.Fatalf("read %q, %v", buffer[:n], err)
			}
			n, err = s.Read(buffer)
			if n != 0 || err == nil || errors.Is(err, io.EOF) != tt.eof {
				t.Errorf("read %d bytes, %v; io.EOF is wanted: %v", n, err, tt.eof)
			}
		})
	}
}

// TestStreamIdle: a half-open socket sends no close, so silence must end it.
func TestStreamIdle(t *testing.T) {
	uri := socket(t, nil, func(ctx context.Context, _ *websocket.Conn) { <-ctx.Done() }) // reads nothing, so no pong
	start := time.Now()
	s := connect(t, uri, 20*time.Millisecond, 200*time.Millisecond)
	_, err := s.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "silent for 200ms") {
		t.Errorf("got %v", err)
	}
	if spent := time.Since(start); spent < 200*time.Millisecond || spent > time.Minute {
		t.Errorf("it ended after %s", spent)
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("a dead connection takes input")
	}
}

// TestStreamPings: a build that is silent for minutes keeps its connection.
func TestStreamPings(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second // which a busy machine may take for a pong
	start, long := time.Now(), make(chan struct{}, 1)
	accept := &websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
		if time.Since(start) > 3*idle {
			select {
			case long <- struct{}{}:
			default:
			}
		}
		return true
	}}
	uri := socket(t, accept, func(ctx context.Context, conn *websocket.Conn) {
		ctx = conn.CloseRead(ctx)
		select {
		case <-long:
			conn.Write(ctx, websocket.MessageBinary, []byte("\x01done"))
			<-ctx.Done()
		case <-ctx.Done():
		}
	})
	s := connect(t, uri, 20*time.Millisecond, idle)
	buffer := make([]byte, 8)
	if n, err := s.Read(buffer); err != nil || string(buffer[:n]) != "done" {
		t.Errorf("read %q, %v after %s", buffer[:n], err, time.Since(start))
	}
}

// TestStreamOutputKeeps: some stacks answer no ping; their output is life enough.
func TestStreamOutputKeeps(t *testing.T) {
	t.Parallel()
	const idle, frames = 2 * time.Second, 25
	uri := socket(t, nil, func(ctx context.Context, conn *websocket.Conn) { // reads nothing, so no pong
		ticker := time.NewTicker(idle / 8)
		defer ticker.Stop()
		for range frames {
			<-ticker.C
			conn.Write(ctx, websocket.MessageBinary, []byte("\x01."))
		}
		<-ctx.Done()
	})
	s := connect(t, uri, time.Minute, idle)
	if n, err := io.ReadFull(s, make([]byte, frames)); err != nil {
		t.Errorf("%d frames of %d, then %v", n, frames, err)
	}
}

// TestStreamWrite: pieces have a bounded size, for the servers of this family
// read 32 KiB at once, and each begins with stdin's channel.
func TestStreamWrite(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 5000) // 80000 bytes
	var sizes []int
	var got []byte
	uri := socket(t, nil, func(ctx context.Context, conn *websocket.Conn) {
		for len(got) < len(sent) {
			kind, message, err := conn.Read(ctx)
			if err != nil || kind != websocket.MessageBinary || len(message) < 2 || message[0] != 0 {
				t.Errorf("message of kind %v and %d bytes, %v", kind, len(message), err)
				return
			}
			sizes, got = append(sizes, len(message)-1), append(got, message[1:]...)
		}
		conn.Close(websocket.StatusNormalClosure, "")
	})
	s := connect(t, uri, time.Minute, time.Minute)
	if n, err := s.Write(nil); n != 0 || err != nil {
		t.Errorf("nothing written gives %d, %v", n, err)
	}
	if n, err := s.Write(sent); n != len(sent) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, or others", len(got), len(sent))
	}
	for _, size := range sizes {
		if size > 32<<10 {
			t.Errorf("pieces of %v bytes", sizes)
			break
		}
	}
}

// TestStreamClose: a reader must not hang when its stream is closed elsewhere.
func TestStreamClose(t *testing.T) {
	uri := socket(t, nil, func(ctx context.Context, conn *websocket.Conn) { <-conn.CloseRead(ctx).Done() })
	s := connect(t, uri, time.Minute, time.Minute)
	result := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		result <- err
	}()
	s.Close()
	select {
	case err := <-result:
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the reader got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the reader hangs")
	}
}

// FuzzPayload: what a server sends must not crash us, nor may output be made up,
// reordered or taken from another channel.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"\x01a", "", "\x01", "#plain", "\x03status", "\x04", "\x05", "\xff\x00", "\x00in"} {
		f.Add([]byte(seed), []byte("\x01b"))
		f.Add([]byte("\x01b"), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := new(Stream)
		for _, message := range [][]byte{first, second} {
			channel, out := s.split(bytes.Clone(message))
			if channel != channelStdout {
				s.keep(out)
				out = nil
			}
			if !bytes.HasSuffix(message, out) || len(message)-len(out) > 1 && len(out) > 0 {
				t.Errorf("%q gave %q", message, out)
			}
			if len(message) > 1 && message[0] == channelStdout && !bytes.HasSuffix(out, message[1:]) {
				t.Errorf("stdout of %q is lost: %q", message, out)
			}
			if len(out) == 0 && len(message) > 0 {
				out = message[1:]
				if out = out[max(0, len(out)-mostStderr):]; !strings.HasSuffix(s.Stderr(), string(out)) || len(s.Stderr()) > mostStderr {
					t.Errorf("%q is in neither stdout nor stderr %q", message, s.Stderr())
				}
			}
		}
	})
}
