package ecitest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// execPath is where WebSocketUri points to: ws://host:port/exec/?s=<token>.
const execPath = "/exec/"

// maxSyncResponse bounds SyncResponse; ECI's own bound is not documented.
const maxSyncResponse = 1 << 20

func execContainerCommandAction() action {
	return action{
		perMinute: 500, serve: (*Server).execContainerCommand,
		params: "ContainerGroupId ContainerName Command TTY Stdin Sync",
	}
}

// execSession is what one WebSocketUri stands for.
type execSession struct {
	container *sandbox.Container
	args      []string
	stdin     bool
	tty       bool
	expiry    *time.Timer

	process *execProcess // set before the socket is opened with Switches.ExecStartsAtCall
}

// abandon lets go of a command that nobody will connect to: it sees the end of
// its stdin and a closed stdout.
func (x *execSession) abandon() {
	x.expiry.Stop()
	if x.process != nil {
		x.process.closePipes()
	}
}

// execContainerCommand answers with an address for one socket, or with Sync the
// command's output.
func (s *Server) execContainerCommand(p *params) (map[string]any, *apiError) {
	id, name := p.required("ContainerGroupId"), p.required("ContainerName")
	args := s.command(p)
	x := &execSession{args: args, stdin: p.boolean("Stdin", true), tty: p.boolean("TTY", false)}
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
	if s.opts.Switches.ExecStartsAtCall {
		var err error
		if x.process, err = x.start(); err != nil {
			return nil, &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
		}
	}
	token := rand.Text()
	x.expiry = time.AfterFunc(s.opts.Delays.ExecURIGood, func() {
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
	uri := "ws://" + s.addr + execPath + "?s=" + token
	return map[string]any{"WebSocketUri": uri, "HttpUrl": "http" + strings.TrimPrefix(uri, "ws")}, nil
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
	if len(args) > maxCommand {
		p.fail("InvalidParameter.ValueExceeded", "Command has %d items, at most %d are allowed", len(args), maxCommand)
	}
	for i, a := range args {
		if len([]rune(a)) > maxCommandItem {
			p.fail("InvalidParameter.ValueExceeded", "item %d of Command has more than %d characters", i, maxCommandItem)
		}
	}
	if n := s.opts.Switches.ExecCommandBytes; n > 0 && len(text) > n {
		p.fail("InvalidParameter.ValueExceeded", "Command has %d bytes, at most %d are allowed", len(text), n)
	}
	return args
}

// execTarget finds a container that can be exec'd into.
func (s *Server) execTarget(region, id, name string) (*sandbox.Container, *apiError) {
	code := s.opts.Switches.UnknownIDOnExec
	setDefault(&code, "InvalidParameter.NotFound")
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

// execSync runs the command without stdin and answers with stdout and stderr together.
func (s *Server) execSync(ctx context.Context, x *execSession) (map[string]any, *apiError) {
	x.stdin = false
	pr, err := x.startMerged()
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	defer pr.closePipes()
	stop := context.AfterFunc(ctx, pr.closePipes) // nobody waits any more
	defer stop()
	limit := s.opts.Switches.ExecSyncBytes
	if limit == 0 {
		limit = maxSyncResponse
	}
	out, err := io.ReadAll(io.LimitReader(pr.stdout, limit))
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "InternalError", fmt.Sprintf("read output: %v", err)}
	}
	if code := s.opts.Switches.ExecSyncExitError; code != "" && int64(len(out)) < limit {
		if exit, err := pr.Wait(); err != nil || exit != 0 {
			return nil, invalid(code, "command terminated with exit code %d", exit)
		}
	}
	return map[string]any{"SyncResponse": string(out)}, nil
}
