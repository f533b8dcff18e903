package ecitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Channels are the first byte of each message, as in channel.k8s.io.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelError  = 3
)

// readSize is how much output is read at once, as in the kubelet.
const readSize = 32 << 10

// drainTime is how long output is read after the command's end with
// Switches.ExecClosesAtExit.
const drainTime = 100 * time.Millisecond

// serveExec opens the socket of one session.
func (s *Server) serveExec(w http.ResponseWriter, r *http.Request) {
	x := s.takeSession(r.URL.Query().Get("s"))
	fault := s.execFault()
	if x == nil {
		http.Error(w, "the session does not exist, has expired or was used", http.StatusForbidden)
		return
	}
	x.expiry.Stop()
	if fault.RefuseHandshake {
		x.abandon()
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	k := &socket{s: s, fault: fault, ctx: ctx, cancel: cancel, cut: func() { cut(r) }}
	k.idle = time.AfterFunc(s.opts.Delays.ExecIdle, k.drop)
	defer k.idle.Stop()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the token is the only authority
		OnPingReceived:     func(context.Context, []byte) bool { k.touch(); return true },
	})
	if err != nil {
		x.abandon()
		return // Accept has answered
	}
	conn.SetReadLimit(-1)
	k.conn = conn
	done := make(chan struct{})
	if !s.start(func() { defer close(done); k.serve(x) }) {
		x.abandon()
		_ = conn.CloseNow()
		return
	}
	<-done
}

// socket is one open exec connection.
type socket struct {
	s      *Server
	conn   *websocket.Conn
	fault  ExecFault
	ctx    context.Context // ends when the connection is lost
	cancel context.CancelFunc
	cut    func() // closes the TCP connection
	idle   *time.Timer

	mu      sync.Mutex // over the order of messages and what follows
	sent    int64      // stdout payload bytes
	held    []byte     // the last bytes of stdout, for SwallowFinal
	stopped bool       // HalfOpen: nothing is sent any more
}

func (k *socket) touch() { k.idle.Reset(k.s.opts.Delays.ExecIdle) }

// drop loses the connection without a close message.
func (k *socket) drop() {
	k.cancel()
	k.cut()
}

// serve carries a session until its command has ended and its output was sent,
// or, after the connection was lost, thrown away.
func (k *socket) serve(x *execSession) {
	defer func() { _ = k.conn.CloseNow() }()
	p := x.process
	if p == nil {
		var err error
		if p, err = x.start(); err != nil {
			_ = k.send(channelError, []byte("error executing command in container: "+err.Error()))
			_ = k.conn.Close(websocket.StatusInternalError, "exec failed")
			return
		}
	}
	defer p.closePipes()
	if k.s.opts.Switches.EmptyFirstFrame {
		_ = k.send(channelStdout, nil)
	}
	k.s.start(func() { k.receive(x.input(p), p) })

	if k.s.opts.Switches.ExecClosesAtExit {
		k.s.start(func() {
			<-p.Done()
			for _, f := range []*os.File{p.stdout, p.stderr} {
				if f != nil {
					_ = f.SetReadDeadline(time.Now().Add(drainTime))
				}
			}
		})
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { k.pump(channelStdout, p.stdout) })
	if p.stderr != nil {
		pumps.Go(func() { k.pump(channelStderr, p.stderr) })
	}
	pumps.Wait()
	code, err := p.Wait()
	if k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	stopped := k.stopped
	k.mu.Unlock()
	if stopped {
		<-k.ctx.Done()
		return
	}
	if k.s.opts.Switches.ExecErrorChannel && (code != 0 || err != nil) {
		_ = k.send(channelError, fmt.Appendf(nil, "command terminated with non-zero exit code: exit status %d", code))
	}
	_ = k.conn.Close(websocket.StatusNormalClosure, "")
}

// receive passes stdin on until the connection ends, then closes it: there is no
// other end of stdin. A slow reader does not hold up pings.
func (k *socket) receive(stdin *os.File, p *execProcess) {
	defer k.cancel()
	queue := make(chan []byte, 256)
	var writer sync.WaitGroup
	writer.Go(func() {
		for b := range queue {
			if stdin != nil {
				if _, err := stdin.Write(b); err != nil {
					stdin = nil // the command has closed it, or ended
				}
			}
		}
	})
	var got int64
	for {
		_, b, err := k.conn.Read(k.ctx)
		if err != nil {
			break
		}
		k.touch()
		if len(b) < 2 || b[0] != channelStdin {
			continue // an empty message, or a channel that leads nowhere
		}
		b = b[1:]
		if k.fault.DropStdin {
			b = b[:max(0, min(int64(len(b)), k.fault.DropStdinAfter-got))]
		}
		got += int64(len(b))
		queue <- b
	}
	close(queue)
	if k.s.opts.Switches.ExecKilledAtDisconnect {
		_ = p.Kill() // fails only where it has ended
	}
	select {
	case <-p.Done(): // also frees a writer that blocks on a full pipe
		p.closeStdin()
	default:
	}
	writer.Wait()
	p.closeStdin()
}

func (p *execProcess) closeStdin() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}

// pump sends one stream until its end. What follows a lost connection goes where
// Switches.ExecOrphanOutput says.
func (k *socket) pump(channel byte, f *os.File) {
	buf := make([]byte, readSize)
	orphan := false
	for {
		n, err := f.Read(buf)
		data := buf[:n]
		if k.fault.Merge && err == nil {
			data = k.merge(f, data)
		}
		if n > 0 && !orphan {
			orphan = k.output(channel, data) != nil
		}
		if err != nil {
			return // io.EOF; EIO from a terminal; a deadline; closed
		}
		if !orphan {
			continue
		}
		switch k.s.opts.Switches.ExecOrphanOutput {
		case OrphanBlock:
			return // the pipe stays open until the command has ended
		case OrphanClose:
			_ = f.Close()
			return
		}
	}
}

// merge adds what comes within 20 ms.
func (k *socket) merge(f *os.File, first []byte) []byte {
	all := append([]byte(nil), first...)
	if f.SetReadDeadline(time.Now().Add(20*time.Millisecond)) != nil {
		return all
	}
	more, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		k.s.opts.Log("ecitest: exec: %v", err)
	}
	_ = f.SetReadDeadline(time.Time{})
	return append(all, more...)
}

// output sends payload through the faults of stdout.
func (k *socket) output(channel byte, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if channel == channelStdout && k.fault.SwallowFinal > 0 {
		k.held = append(k.held, data...)
		n := max(0, int64(len(k.held))-k.fault.SwallowFinal)
		data = append([]byte(nil), k.held[:n]...)
		k.held = k.held[n:]
	}
	for len(data) > 0 {
		frame := data
		if m := k.fault.MaxFrame; m > 0 {
			frame = data[:min(m, len(data))]
		}
		last := false
		if channel == channelStdout && k.fault.Drop {
			left := max(0, k.fault.DropAfter-k.sent)
			last = int64(len(frame)) > left
			frame = frame[:min(int64(len(frame)), left)]
		}
		if err := k.write(channel, frame); err != nil {
			return err
		}
		data = data[len(frame):]
		if channel == channelStdout {
			k.sent += int64(len(frame))
		}
		if last {
			return k.dropStream()
		}
	}
	return nil
}

// dropStream carries out Drop; k.mu is held.
func (k *socket) dropStream() error {
	if k.fault.HalfOpen {
		k.stopped = true
		return errors.New("half-open")
	}
	k.drop()
	return errors.New("dropped")
}

// send sends one message of our own.
func (k *socket) send(channel byte, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.message(channel, data)
}

// write sends one frame of output; k.mu is held.
func (k *socket) write(channel byte, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if k.fault.EmptyFrames {
		if err := k.message(channel, nil); err != nil {
			return err
		}
	}
	return k.message(channel, data)
}

func (k *socket) message(channel byte, data []byte) error {
	if k.stopped {
		return errors.New("half-open")
	}
	kind := websocket.MessageBinary
	if k.fault.Text {
		kind = websocket.MessageText
	}
	if !k.fault.Unprefixed {
		data = append([]byte{channel}, data...)
	}
	k.touch()
	return k.conn.Write(k.ctx, kind, data)
}
