package ecitest

import (
	"context"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Channels are the first byte of each message, as in channel.k8s.io.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelError  = 3
	channelResize = 4
	channelClose  = 255 // with the channel that ends, in SubprotocolV5
)

// drainTime is how long output is read after the command's end with
// Switches.ExecClosesAtExit.
const drainTime = 100 * time.Millisecond

// serveExec opens the socket of one session.
func (s *Server) serveExec(w http.ResponseWriter, r *http.Request) {
	x := s.takeSession(r.URL.Query().Get("s"))
	if x == nil {
		http.Error(w, "the session does not exist, has expired or was used", http.StatusForbidden)
		return
	}
	x.expiry.Stop()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if !s.pause(ctx, x.fault.Dial) {
		x.abandon()
		return
	}
	switch {
	case x.fault.RefuseHandshake:
		x.abandon()
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return
	case s.opts.Switches.ExecSubprotocol == SubprotocolRefused && r.Header.Get("Sec-WebSocket-Protocol") != "":
		x.abandon()
		http.Error(w, "no subprotocol is supported", http.StatusBadRequest)
		return
	case !s.openSocket(ctx, x.group):
		x.abandon()
		http.Error(w, "too many sessions", http.StatusServiceUnavailable)
		return
	}
	k := s.newSocket(ctx, cancel, x)
	k.tcp = connOf(r)
	k.cut = func() { cut(r) }
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the token is the only authority
		Subprotocols:       s.subprotocols(),
		OnPingReceived:     func(context.Context, []byte) bool { return k.pinged() },
	})
	if err != nil {
		x.abandon()
		return // Accept has answered
	}
	conn.SetReadLimit(-1)
	if n := s.opts.Switches.ExecMaxFrame; n > 0 {
		conn.SetReadLimit(int64(n))
	}
	k.conn, k.protocol = conn, conn.Subprotocol()
	done := make(chan struct{})
	if !s.start(func() { defer close(done); k.serve(x) }) {
		x.abandon()
		_ = conn.CloseNow()
		return
	}
	<-done
}

// openSocket counts a socket into the group until ctx ends; false where
// Switches.ExecMaxSessions allows no more.
func (s *Server) openSocket(ctx context.Context, group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.opts.Switches.ExecMaxSessions; n > 0 && s.sockets[group] >= n {
		return false
	}
	s.sockets[group]++
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sockets[group]--; s.sockets[group] == 0 {
			delete(s.sockets, group)
		}
	})
	return true
}

// socket is one open exec connection.
type socket struct {
	s        *Server
	conn     *websocket.Conn
	fault    ExecFault
	ctx      context.Context // ends when the connection is lost
	cancel   context.CancelFunc
	tcp      *burstConn
	cut      func()        // closes tcp
	quiet    time.Duration // how long it may be without a sign of life before it is dropped
	idle     *time.Timer
	protocol string // that was taken, or ""
	brief    bool   // closed after the first output: Switches.ExecWithoutStdinEndsEarly

	dead atomic.Bool // HalfOpen: nothing is sent or heard any more

	mu    sync.Mutex // over the order of messages and what follows
	sent  int64      // stdout payload bytes
	held  []byte     // the last bytes of stdout, for SwallowFinal
	point *dropPoint // nil without Drop
}

func (s *Server) newSocket(ctx context.Context, cancel context.CancelFunc, x *execSession) *socket {
	k := &socket{s: s, fault: x.fault, ctx: ctx, cancel: cancel, quiet: s.opts.Switches.ExecIdle,
		brief: s.opts.Switches.ExecWithoutStdinEndsEarly && !x.stdin}
	if x.fault.Idle > 0 {
		k.quiet = x.fault.Idle
	}
	if x.fault.Drop {
		k.point = newDropPoint(x.fault)
	}
	return k
}

// pinged takes a ping in; false leaves it unanswered.
func (k *socket) pinged() bool {
	if k.dead.Load() {
		return false
	}
	if !k.s.opts.Switches.ExecPingsIgnored {
		k.touch()
	}
	return true
}

func (k *socket) touch() { k.idle.Reset(k.quiet) }

// drop loses the connection without a close message.
func (k *socket) drop() {
	k.cancel()
	k.cut()
}

// end closes the connection in order, whatever the command does.
func (k *socket) end() {
	_ = k.conn.Close(websocket.StatusNormalClosure, "")
	k.cancel()
}

// clocks starts the timers that end the connection; stop ends them.
func (k *socket) clocks() (stop func()) {
	timers := []*time.Timer{time.AfterFunc(k.quiet, k.drop)}
	k.idle = timers[0]
	if d := k.fault.DropEvery; d > 0 {
		timers = append(timers, time.AfterFunc(d, k.drop))
	}
	if d := k.s.opts.Switches.ExecLifetime; d > 0 {
		timers = append(timers, time.AfterFunc(d, k.end))
	}
	return func() {
		for _, t := range timers {
			t.Stop()
		}
	}
}

// serve carries a session until its command has ended and its output was sent,
// or, after the connection was lost, thrown away.
func (k *socket) serve(x *execSession) {
	defer func() { _ = k.conn.CloseNow() }()
	defer k.clocks()()
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
	k.flush()
	code, err := p.Wait()
	if k.ctx.Err() != nil {
		return
	}
	if k.dead.Load() {
		<-k.ctx.Done()
		return
	}
	if status := k.status(code, err); status != nil {
		_ = k.send(channelError, status)
	}
	_ = k.conn.Close(websocket.StatusNormalClosure, "")
}

// receive passes stdin on until the connection ends, then closes it: but for
// SubprotocolV5 there is no other end of stdin. A slow reader does not hold up pings.
func (k *socket) receive(stdin *os.File, p *execProcess) {
	defer k.cancel()
	queue := make(chan []byte, 256)
	var writer sync.WaitGroup
	writer.Go(func() { p.feed(stdin, queue) })
	in := stdinFaults{ExecFault: k.fault}
	for {
		_, b, err := k.conn.Read(k.ctx)
		if err != nil {
			break
		}
		if k.dead.Load() {
			continue
		}
		k.touch()
		if k.protocol == SubprotocolV5 && len(b) == 2 && b[0] == channelClose && b[1] == channelStdin {
			queue <- nil
			continue
		}
		if len(b) > 1 && b[0] == channelResize && k.s.opts.Switches.ExecResizes {
			p.resize(b[1:])
		}
		if len(b) < 2 || b[0] != channelStdin {
			continue // an empty message, or a channel that leads nowhere
		}
		b, cut := in.pass(b[1:])
		queue <- b
		if cut {
			k.drop()
		}
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

// feed writes what is queued to stdin; nil ends it.
func (p *execProcess) feed(stdin *os.File, queue <-chan []byte) {
	for b := range queue {
		if b == nil {
			p.closeStdin()
			stdin = nil
		}
		if stdin != nil {
			if _, err := stdin.Write(b); err != nil {
				stdin = nil // the command has closed it, or ended
			}
		}
	}
}

func (p *execProcess) closeStdin() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}
