package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Exec is the connection of an exec, as eci.Stream is one.
type Exec interface {
	// Next gives what came next on stdout or stderr; it is good until the next call.
	Next() (stderr bool, data []byte, err error)
	Write(p []byte) (int, error)
	Close() error
}

// Settings are the times of a relay; tests scale them.
type Settings struct {
	Alive  time.Duration // a stage that has the exec hears this often that the relay is well
	Lonely time.Duration // a relay without an exec ends after this
	Watch  time.Duration // how often the relay looks for that, and whether its socket is still its own
	Dial   time.Duration // how long one dial may take
	Wait   time.Duration // how long a stage waits for the exec of another one, which may be just ending
}

// DefaultSettings are those in use.
func DefaultSettings() Settings {
	return Settings{Alive: time.Second, Lonely: 5 * time.Minute, Watch: 10 * time.Second, Dial: 15 * time.Second, Wait: 100 * time.Millisecond}
}

// Server is the relay.
type Server struct {
	Dial     func(ctx context.Context, address string) (Exec, error)
	Settings Settings
	Until    time.Time // when it ends in any case
	Socket   string    // path of the listener's file
	Inode    uint64    // of that file: another relay may have put its own there

	turn  chan struct{} // full while a stage has the exec, or the relay dials one
	dials atomic.Bool   // the relay dials one for kindHold
	quit  context.CancelFunc

	unlinked sync.Once
	mu       sync.Mutex
	held     *held     // nil without an exec
	lonely   time.Time // since when there is none
}

// held is an exec and who has it now.
type held struct {
	exec Exec
	id   string
	user *user // nil while nobody has
}

// user is a stage that asks for the exec or has it.
type user struct {
	mu   sync.Mutex // held for the whole of a frame
	conn *net.UnixConn
}

func (u *user) send(k kind, payload []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	header := appendHeader(make([]byte, 0, headerBytes), k, len(payload))
	buffers := net.Buffers{header, payload}
	_, err := buffers.WriteTo(u.conn)
	return err
}

// Serve answers those who connect, until ctx ends or nobody needs the relay any more.
func (s *Server) Serve(ctx context.Context, listener *net.UnixListener) error {
	ctx, s.quit = context.WithDeadline(ctx, s.Until)
	defer s.quit()
	s.turn, s.lonely = make(chan struct{}, 1), time.Now()
	if !s.owns() {
		return nil // nobody can reach us any more
	}
	go s.watch(ctx)
	context.AfterFunc(ctx, func() { listener.Close() }) //nolint:errcheck // it is not used any more
	for {
		conn, err := listener.AcceptUnix()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("accepting a stage: %w", err)
		}
		go s.serve(ctx, conn)
	}
	s.unlink()
	s.drop(s.current())
	return nil
}

// owns tells whether the file at Socket is the listener's, and not another relay's.
func (s *Server) owns() bool {
	var stat unix.Stat_t
	return unix.Lstat(s.Socket, &stat) == nil && stat.Ino == s.Inode
}

// unlink removes the socket's file, once: when the listener is closed its inode is free, and
// another relay's file may have the same.
func (s *Server) unlink() {
	s.unlinked.Do(func() {
		if s.owns() {
			os.Remove(s.Socket) //nolint:errcheck // a socket without a listener refuses
		}
	})
}

// watch ends the relay when nobody needs it any more.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(s.Settings.Watch)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		lonely := s.held == nil && time.Since(s.lonely) >= s.Settings.Lonely
		s.mu.Unlock()
		if lonely || !s.owns() {
			s.quit()
		}
	}
}

func (s *Server) current() *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// drop closes an exec and returns who had it.
func (s *Server) drop(h *held) *user {
	if h == nil {
		return nil
	}
	s.mu.Lock()
	if s.held == h {
		s.held, s.lonely = nil, time.Now()
	}
	u := h.user
	s.mu.Unlock()
	h.exec.Close() //nolint:errcheck // nothing is owed to it
	return u
}

// serve answers one stage.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close() //nolint:errcheck // it has served
	if uid, err := peer(conn); err != nil || int(uid.Uid) != os.Geteuid() {
		return
	}
	conn.SetReadDeadline(time.Now().Add(s.Settings.Dial)) //nolint:errcheck // sockets have deadlines
	k, words, err := readFrame(conn, nil, mostWords)
	if err != nil {
		return
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // sockets have deadlines
	u := &user{conn: conn}
	switch k {
	case kindTake, kindHold, kindOpen:
	case kindQuit:
		s.unlink()            // before the answer, upon which the asker may put another socket there
		u.send(kindDone, nil) //nolint:errcheck // who asked may be gone
		s.quit()
		return
	default: // the asker is of another version of the driver
		u.send(kindNone, fmt.Appendf(nil, "the question %q is not known", k)) //nolint:errcheck // who asked may be gone
		return
	}
	if !s.await(u) {
		u.send(kindBusy, nil) //nolint:errcheck // who asked may be gone
		return
	}
	s.answer(ctx, k, words, u)
	<-s.turn
}

// answer answers a stage that wants the exec and has the turn.
func (s *Server) answer(ctx context.Context, k kind, words []byte, u *user) {
	if k == kindHold {
		s.dials.Store(true)
		defer s.dials.Store(false)
		u.send(kindDone, nil) //nolint:errcheck // who asked may be gone
	}
	h := s.current()
	if k != kindTake {
		s.drop(h)
		var err error
		if h, err = s.open(ctx, words); err != nil {
			u.send(kindNone, []byte(err.Error())) //nolint:errcheck // who asked may be gone
			return
		}
	}
	switch {
	case k == kindHold: // the exec stays for whoever takes it
	case h == nil:
		u.send(kindNone, nil) //nolint:errcheck // who asked may be gone
	default:
		s.lend(h, u)
	}
}

// await waits for the turn: shortly while a stage has the exec, as it may be just ending, and
// for Settings.Dial while the relay dials, which u is told. False where it did not come.
func (s *Server) await(u *user) bool {
	select {
	case s.turn <- struct{}{}:
		return true
	default:
	}
	limit := s.Settings.Wait
	if s.dials.Load() {
		u.send(kindAlive, nil) //nolint:errcheck // who asked may be gone
		limit = s.Settings.Dial
	}
	select {
	case s.turn <- struct{}{}:
		return true
	case <-time.After(limit):
		return false
	}
}

// open dials the exec of words, its id, a newline and its address.
func (s *Server) open(ctx context.Context, words []byte) (*held, error) {
	id, address, found := bytes.Cut(words, []byte("\n"))
	if !found {
		return nil, errors.New("no address")
	}
	ctx, cancel := context.WithTimeout(ctx, s.Settings.Dial)
	defer cancel()
	exec, err := s.Dial(ctx, string(address))
	if err != nil {
		return nil, err
	}
	h := &held{exec: exec, id: string(id)}
	s.mu.Lock()
	s.held = h
	s.mu.Unlock()
	go s.pump(h)
	return h, nil
}

// pump passes on what comes from an exec, until it ends. It drops an exec that prints while
// nobody has it: that belongs to a run that was given up, and what comes next is not known.
func (s *Server) pump(h *held) {
	defer s.drop(h)
	for {
		stderr, data, err := h.exec.Next()
		s.mu.Lock()
		u := h.user
		s.mu.Unlock()
		switch {
		case err != nil:
			if u = s.drop(h); u != nil {
				u.send(kindEnded, []byte(err.Error())) //nolint:errcheck // who asked may be gone
			}
			return
		case len(data) == 0:
		case u == nil && !stderr:
			return
		case u == nil:
		case stderr:
			err = u.send(kindStderr, data)
		default:
			err = u.send(kindStdout, data)
		}
		if err != nil {
			return
		}
	}
}

// lend lets a stage have an exec until it returns it, or goes away with it.
func (s *Server) lend(h *held, u *user) {
	s.mu.Lock()
	lost := s.held != h
	h.user = u
	s.mu.Unlock()
	if lost {
		u.send(kindNone, nil) //nolint:errcheck // who asked may be gone
		return
	}
	stop := make(chan struct{}) // ends kindAlive
	defer close(stop)
	go func() {
		ticker := time.NewTicker(s.Settings.Alive)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				u.send(kindAlive, nil) //nolint:errcheck // who reads here learns it
			}
		}
	}()
	if u.send(kindLent, []byte(h.id)) != nil {
		s.leave(h) // the stage has given up waiting, as in a long dial, and has not used the exec
	} else if !s.stdin(h, u) {
		s.drop(h)
	}
}

// leave frees an exec for another stage.
func (s *Server) leave(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.user = nil
}

// stdin passes on what a stage writes. True when it has returned the exec; else the exec must
// be dropped.
func (s *Server) stdin(h *held, u *user) (returned bool) {
	buffer := make([]byte, mostStdin)
	for {
		k, data, err := readFrame(u.conn, buffer, mostStdin)
		switch {
		case err != nil:
			return false
		case k == kindReturn:
			s.leave(h)
			return true
		case k != kindStdin:
			return false
		}
		if _, err := h.exec.Write(data); err != nil {
			u.send(kindEnded, []byte(err.Error())) //nolint:errcheck // who asked may be gone
			return false
		}
	}
}

// peer is who has the other end of a connection, as the kernel knows it.
func peer(conn *net.UnixConn) (credentials *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return credentials, errors.Join(err, controlErr)
}
