package ecitest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// execPath is where WebSocketUri points to: ws://host:port/exec/?s=<token>.
const execPath = "/exec/"

// nobody is an address where nothing listens, for ExecFault.Unreachable.
const nobody = "127.0.0.1:1"

func execContainerCommandAction() action {
	return action{
		perMinute: 500, serve: (*Server).execContainerCommand,
		params: "ContainerGroupId ContainerName Command TTY Stdin Sync",
	}
}

// execSession is what one WebSocketUri stands for.
type execSession struct {
	group     string
	container *sandbox.Container
	args      []string
	stdin     bool
	tty       bool
	fault     ExecFault
	expiry    *time.Timer // nil until an address is given out

	process *execProcess // set before the socket is opened where the command starts at the call
}

// abandon lets go of a command that nobody will connect to: it sees the end of
// its stdin and a closed stdout.
func (x *execSession) abandon() {
	if x.expiry != nil {
		x.expiry.Stop()
	}
	if x.process != nil {
		x.process.closePipes()
	}
}

// execContainerCommand answers with an address for one socket, or with Sync the
// command's output.
func (s *Server) execContainerCommand(p *params) (map[string]any, *apiError) {
	id, name := p.required("ContainerGroupId"), p.required("ContainerName")
	args := s.command(p)
	x := &execSession{group: id, args: args, stdin: p.boolean("Stdin", true), tty: p.boolean("TTY", false)}
	sync := p.boolean("Sync", false)
	bash := len(args) == 1 && args[0] == "/bin/bash"
	switch {
	case sync && x.tty:
		p.fail("InvalidParameter", "TTY must be false with Sync")
	case sync && bash:
		p.fail("InvalidParameter", "Command can't be /bin/bash with Sync")
	case bash && !x.tty && s.opts.Switches.ExecBashNeedsTTY:
		p.fail("InvalidParameter", "TTY must be true when Command is /bin/bash")
	}
	if p.err != nil {
		return nil, p.err
	}
	var refusal *apiError
	if x.container, refusal = s.execTarget(p.str("RegionId"), id, name); refusal != nil {
		return nil, refusal
	}
	if sync {
		return s.execSync(p.ctx, x)
	}
	x.fault = s.execFault(p.v)
	atCall := s.opts.Switches.ExecStartsAtCall
	if x.fault.Start != "" {
		atCall = x.fault.Start == "call"
	}
	if atCall {
		var err error
		if x.process, err = x.start(); err != nil {
			return nil, &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
		}
	}
	host := s.addr
	if x.fault.Unreachable {
		host = nobody
	}
	uri := "ws://" + host + execPath + "?s=" + s.giveAddress(x)
	return map[string]any{"WebSocketUri": uri, "HttpUrl": "http" + strings.TrimPrefix(uri, "ws")}, nil
}

// giveAddress makes the token under which x can be connected to once, for a while.
func (s *Server) giveAddress(x *execSession) string {
	token := rand.Text()
	if x.fault.Expired {
		x.abandon()
		return token
	}
	x.expiry = time.AfterFunc(s.opts.Switches.ExecURIGood, func() {
		if expired := s.takeSession(token); expired != nil {
			expired.abandon()
		}
	})
	s.mu.Lock()
	s.sessions[token] = x
	s.mu.Unlock()
	if s.ctx.Err() != nil { // Close has not seen it
		x.abandon()
	}
	return token
}

// command reads Command: a JSON array, or plain text as one item.
func (s *Server) command(p *params) []string {
	text := p.required("Command")
	var args []string
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		if strings.HasPrefix(strings.TrimSpace(text), "[") {
			p.fail("InvalidParameter", "Command is not a JSON array of strings: %v", err)
		}
		args = []string{text}
	}
	if len(args) == 0 || args[0] == "" {
		p.fail("InvalidParameter", "Command is empty")
	}
	if !s.opts.Switches.ExecLongCommandAllowed {
		p.checkWords("Command", args, maxCommand)
	}
	if n := s.opts.Switches.ExecCommandBytes; n > 0 && len(text) > n {
		p.fail("InvalidParameter.ValueExceeded", "Command has %d bytes, at most %d are allowed", len(text), n)
	}
	return args
}

// execTarget finds a container that can be exec'd into.
func (s *Server) execTarget(region, id, name string) (*sandbox.Container, *apiError) {
	code := s.opts.Switches.UnknownIDOnExec
	g := s.group(region, id)
	if g == nil {
		return nil, unknown(code, "the container group %s does not exist", id)
	}
	if g.container(name) == nil {
		return nil, unknown(code, "the container %s does not exist in %s", name, id)
	}
	running := g.running(name)
	g.mu.Lock()
	status := g.status()
	g.mu.Unlock()
	ready := status == "Running" || (status == "Pending" && s.opts.Switches.ExecAllowedWhilePending)
	switch {
	case !ready:
		return nil, invalid("IncorrectStatus", "the container group is %s", status)
	case running == nil:
		return nil, invalid("IncorrectStatus", "the container %s is not running", name)
	}
	return running, nil
}

// takeSession gives a session to the first who asks; nil for all others.
func (s *Server) takeSession(token string) *execSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[token]
	delete(s.sessions, token)
	return x
}
