package ecitest

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Faults decides which calls, execs and groups go wrong, by code or by data; nil
// = none. The functions may be called from several goroutines at once. Where code
// and rules both say something, the rules have the last word.
type Faults struct {
	Call  func(action string, n int) CallFault // n-th call of this action, from 0
	Exec  func(n int) ExecFault                // n-th exec address that is given out, from 0
	Group func(n int) GroupFault               // n-th group that is created, from 0

	Rules Rules
	Seed  uint64 // of the rules' probabilities
}

// CallFault is what happens to one API call; the zero value is nothing.
type CallFault struct {
	Status        int    // answer with this HTTP status, Code and Message, with no effect; 0 with a Code = 400
	Code, Message string //

	Delay      time.Duration // before anything else
	DelayAfter time.Duration // after the effect, before the answer

	CutBefore     bool  // close the TCP connection with no effect
	CutAfter      bool  // take effect, then close the TCP connection
	Truncate      bool  // take effect, send the first TruncateAfter bytes of the answer's body, ...
	TruncateAfter int64 // ... then close the TCP connection
}

// ExecFault is what happens to one exec and its socket; the zero value is
// nothing. Bytes are payload bytes, channel bytes not counted.
type ExecFault struct {
	Start           string // "call" or "connect", whatever Switches.ExecStartsAtCall says; "" = as that says
	Unreachable     bool   // the address is of a port where nobody listens
	Expired         bool   // the address has expired when it is dialled: 403
	RefuseHandshake bool   // answer 502; the address is used up

	Dial time.Duration // from the arrival of the handshake to its answer

	// Drop cuts the TCP connection once DropAfter bytes of stdout were sent
	// (0 = before the first); with HalfOpen it stays open, but nothing is sent or
	// heard any more, pings included. With DropFrom, DropAfter counts from the first
	// byte of that text in stdout, DropFromSkip occurrences of which pass before.
	Drop         bool
	DropAfter    int64
	DropFrom     string
	DropFromSkip int
	HalfOpen     bool
	DropEvery    time.Duration // age at which the TCP connection is cut; 0 = never
	Idle         time.Duration // in place of Switches.ExecIdle; 0 = as that says

	MaxFrame     int   // most payload bytes of a frame, into which output is split; 0 = as read
	Merge        bool  // send what comes within 20 ms as one frame
	Text         bool  // text messages
	Unprefixed   bool  // no channel byte
	EmptyFrames  bool  // an empty message before each frame
	SwallowFinal int64 // bytes at the end of stdout that are dropped before the connection is closed normally

	DropStdin      bool  // swallow what comes on stdin after DropStdinAfter bytes
	DropStdinAfter int64 //
	LoseStdin      bool  // swallow one byte of stdin, that after LoseStdinAfter bytes
	LoseStdinAfter int64 //
	CutStdin       bool  // cut the TCP connection once CutStdinAfter bytes of stdin have arrived
	CutStdinAfter  int64 //
}

// GroupFault is what happens to one container group; the zero value is nothing.
// After counts from the moment at which the group is Running.
type GroupFault struct {
	HiddenFor      time.Duration     // in place of Switches.NewGroupHiddenFor; 0 = as that says
	Schedule       time.Duration     // in place of Delays.Schedule; 0 = as that says
	ScheduleUntil  <-chan struct{}   // and, by code alone, until this is closed
	ScheduleFailed string            // reason of the event with which ECI gives the group up, e.g. NoStock
	Message        string            // of that event
	PendingForever bool              // no container is ever started
	Pull           map[string]string // image, or "*" for each -> why it can't be pulled, as the container runtime says it
	Mount          string            // why a volume can't be mounted

	PullTime  map[string]time.Duration   // image -> in place of Delays.Pull
	PullUntil map[string]<-chan struct{} // image -> and, by code alone, until this is closed

	Events []GroupEvent // further events, told once the group is Pending

	Kill    string // name of a container that gets SIGKILL
	OOM     bool   // Kill is shown as one for memory
	Reclaim bool   // the spot instance is taken: event SpotToBeReleased, Notice later the status Expired
	Delete  bool   // somebody else deletes the group

	After  time.Duration // until Kill, Reclaim and Delete
	Notice time.Duration // between event and end of Reclaim
}

// GroupEvent is an event of a group as DescribeContainerGroups shows it.
type GroupEvent struct{ Type, Reason, Name, Message string }

// decider is Faults at work.
type decider struct {
	Faults
	rules *engine
}

func newDecider(f Faults) *decider { return &decider{f, newEngine(f.Rules, f.Seed)} }

func (s *Server) callFault(action string, v url.Values) (f CallFault) {
	s.mu.Lock()
	d, n := s.faults, s.perCall[action]
	s.perCall[action]++
	s.mu.Unlock()
	if d.Call != nil {
		f = d.Call(action, n)
	}
	for _, r := range d.rules.strike(v, targetAll, action) {
		overlay(&f, r.Call)
	}
	return f
}

func (s *Server) execFault(v url.Values) (f ExecFault) {
	s.mu.Lock()
	d, n := s.faults, s.execs
	s.execs++
	s.mu.Unlock()
	if d.Exec != nil {
		f = d.Exec(n)
	}
	for _, r := range d.rules.strike(v, targetExec) {
		overlay(&f, r.Exec)
	}
	return f
}

func (s *Server) groupFault(v url.Values) (f GroupFault) {
	s.mu.Lock()
	d, n := s.faults, s.made
	s.made++
	s.mu.Unlock()
	if d.Group != nil {
		f = d.Group(n)
	}
	for _, r := range d.rules.strike(v, targetGroup) {
		overlay(&f, r.Group)
	}
	return f
}

// truncated is an answer that ends too early.
type truncated struct {
	http.ResponseWriter
	left int64
	cut  func()
}

func (t *truncated) Write(b []byte) (int, error) {
	if int64(len(b)) <= t.left {
		t.left -= int64(len(b))
		return t.ResponseWriter.Write(b)
	}
	n, err := t.ResponseWriter.Write(b[:t.left])
	t.left = 0
	if err == nil {
		err = http.NewResponseController(t.ResponseWriter).Flush()
	}
	t.cut()
	return n, errors.Join(err, errors.New("truncated on request"))
}
