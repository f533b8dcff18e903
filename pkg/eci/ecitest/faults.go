package ecitest

import (
	"net"
	"net/http"
	"time"
)

// Faults decides which calls, exec sockets and groups go wrong. Its functions may
// be called from several goroutines at once; nil = none.
type Faults struct {
	Call  func(action string, n int) CallFault // n-th call of this action, from 0
	Exec  func(n int) ExecFault                // n-th socket that is dialled, from 0
	Group func(n int) GroupFault               // n-th group that is created, from 0
}

// GroupFault is what happens to one container group; the zero value is nothing.
type GroupFault struct {
	ScheduleFailed string            // reason of the event with which ECI gives the group up
	Message        string            // of that event
	PendingForever bool              // no container is ever started
	Pull           map[string]string // image -> why it can't be pulled, as the container runtime says it
	Mount          string            // why a volume can't be mounted
	Events         []GroupEvent      // further events, told once the group is Pending
}

// GroupEvent is an event of a group as DescribeContainerGroups shows it.
type GroupEvent struct{ Type, Reason, Name, Message string }

// CallFault is what happens to one API call; the zero value is nothing.
type CallFault struct {
	Status        int           // answer with this HTTP status, Code and Message, with no effect; 0 with a Code = 400
	Code, Message string        //
	CutBefore     bool          // close the TCP connection with no effect
	CutAfter      bool          // take effect, then close the TCP connection
	Delay         time.Duration // before anything else
}

// ExecFault is what happens to one exec socket; the zero value is nothing.
// Bytes are payload bytes of stdout, channel bytes not counted.
type ExecFault struct {
	RefuseHandshake bool // answer 502; the address is used up

	// Drop cuts the TCP connection once DropAfter bytes of stdout were sent
	// (0 = before the first); with HalfOpen it stops sending and keeps TCP open.
	Drop      bool
	DropAfter int64
	HalfOpen  bool

	MaxFrame    int  // split output into frames of at most so many payload bytes; 0 = as read
	Merge       bool // send what comes within 20 ms as one frame
	Text        bool // text messages
	Unprefixed  bool // no channel byte
	EmptyFrames bool // an empty message before each frame

	DropStdin      bool  // swallow what comes on stdin after DropStdinAfter bytes
	DropStdinAfter int64 //
	SwallowFinal   int64 // drop the last so many bytes of stdout and close normally
}

func (s *Server) callFault(action string) CallFault {
	s.mu.Lock()
	n := s.perCall[action]
	s.perCall[action]++
	f := s.faults.Call
	s.mu.Unlock()
	if f == nil {
		return CallFault{}
	}
	return f(action, n)
}

func (s *Server) execFault() ExecFault {
	s.mu.Lock()
	n := s.execs
	s.execs++
	f := s.faults.Exec
	s.mu.Unlock()
	if f == nil {
		return ExecFault{}
	}
	return f(n)
}

// groupFault is that of the n-th group.
func (s *Server) groupFault(n int) GroupFault {
	s.mu.Lock()
	f := s.faults.Group
	s.mu.Unlock()
	if f == nil {
		return GroupFault{}
	}
	return f(n)
}

// cut closes the TCP connection below a request, as a lost network does.
func cut(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		_ = c.Close()
	}
}
