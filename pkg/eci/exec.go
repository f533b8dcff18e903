package eci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// ExecRequest asks for one more process in a running container.
type ExecRequest struct {
	GroupID   string
	Container string
	Command   []string
	TTY       bool
}

// Limits of a command: 20 words of 256 bytes as documented, and 2048 bytes in
// all, as a JSON array, as clients have found (sources.md: exec, exec-clients).
const (
	MaxCommandWords     = 20
	MaxCommandWordBytes = 256
	MaxCommandBytes     = 2048
)

// Exec starts a process and connects to it. Whether it starts with the call or
// with the connection is not documented; a URI is dialled at once and never
// twice. stdin is always on, because some stacks end an exec without it early.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*Stream, error) {
	uri, err := c.ExecURI(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.dial(ctx, execNamed(r), uri)
}

// ExecURI is Exec without the connection. Its answer is for Dial, and a secret: who has it
// can connect. It must be dialled at once, as nobody documents how long it is good.
func (c *Client) ExecURI(ctx context.Context, r ExecRequest) (string, error) {
	call, err := execCall(r, Params{"TTY": fmt.Sprint(r.TTY), "Stdin": "true"})
	if err != nil {
		return "", err
	}
	var answer struct{ RequestId, WebSocketUri string }
	if err := c.do(ctx, call, &answer); err != nil {
		return "", err
	}
	if hostOf(answer.WebSocketUri) == "" {
		return "", &Error{Op: call.op, ID: call.id, Action: call.action, RequestID: answer.RequestId, Message: "the answer holds no usable WebSocketUri"}
	}
	return answer.WebSocketUri, nil
}

// ExecSync runs a command without stdin or terminal to its end, in the time of one
// call, and returns what it printed, stdout and stderr together. What becomes of its
// exit status, and where long output is cut, is not documented (sources.md: exec).
func (c *Client) ExecSync(ctx context.Context, r ExecRequest) (string, error) {
	call, err := execCall(r, Params{"TTY": "false", "Stdin": "false", "Sync": "true"})
	if err != nil {
		return "", err
	}
	var answer struct{ SyncResponse string }
	err = c.do(ctx, call, &answer)
	return answer.SyncResponse, err
}

func execCall(r ExecRequest, params Params) (call, error) {
	command, err := encodeCommand(r.Command)
	if err != nil {
		return call{}, err
	}
	params["ContainerGroupId"], params["ContainerName"], params["Command"] = r.GroupID, r.Container, command
	named := execNamed(r)
	named.params = params
	return named, nil
}

// execNamed is the call by which errors name an exec.
func execNamed(r ExecRequest) call {
	return call{action: "ExecContainerCommand", op: "exec in container " + r.Container + " of", id: r.GroupID}
}

func encodeCommand(words []string) (string, error) {
	for _, w := range words {
		if len(w) > MaxCommandWordBytes {
			return "", fmt.Errorf("a word of the command has %d bytes, ECI takes %d", len(w), MaxCommandWordBytes)
		}
	}
	text, err := json.Marshal(words)
	if err != nil {
		return "", err
	}
	if len(words) == 0 || len(words) > MaxCommandWords || len(text) > MaxCommandBytes {
		return "", fmt.Errorf("the command has %d words and %d bytes, ECI takes 1 to %d and %d", len(words), len(text), MaxCommandWords, MaxCommandBytes)
	}
	return string(text), nil
}

// hostOf is the host of a URI, "" where there is none to dial.
func hostOf(uri string) string {
	target, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return target.Host
}

// dial connects to the exec of uri, with errors that are those of the call.
func (c *Client) dial(ctx context.Context, call call, uri string) (*Stream, error) {
	host := hostOf(uri)
	connect, whole := c.options.timeouts(call.action)
	dialing, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	conn, response, err := dial(dialing, uri, connect)
	if err != nil {
		e := &Error{Op: call.op, ID: call.id, Action: call.action, Endpoint: host, Region: c.options.Region, cause: dialing.Err(),
			Message: fmt.Sprintf("the WebSocket host %s can't be reached", host)}
		switch {
		case response != nil:
			e.Message = fmt.Sprintf("the WebSocket host %s refused the connection (HTTP %d)", host, response.StatusCode)
		case lack(err) != nil:
			e.Message = fmt.Sprintf("no connection to the WebSocket host %s: %s", host, lack(err))
		case ctx.Err() == nil:
			e.unreached = host
		}
		return nil, e
	}
	return newStream(conn, c.options.PingInterval, c.options.IdleTimeout), nil
}

// lack is the error where a connection failed because this host had run out of descriptors or
// memory, as it may not have a moment later; nil where the network is at fault. Behind a
// failed look-up of the host's name package net keeps only the error's text.
func lack(err error) error {
	var lookUp *net.DNSError
	named := errors.As(err, &lookUp)
	for _, none := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, none) || named && strings.HasSuffix(lookUp.Err, none.Error()) {
			return none
		}
	}
	return nil
}

// Dial connects to the exec of a URI, without a client or credentials. Its errors hold
// nothing of the URI but the host.
func Dial(ctx context.Context, uri string) (*Stream, error) {
	o := Options{}.withDefaults()
	host := hostOf(uri)
	if host == "" {
		return nil, errors.New("no usable WebSocketUri")
	}
	connect, _ := o.timeouts("ExecContainerCommand")
	conn, response, err := dial(ctx, uri, connect)
	switch {
	case err == nil:
		return newStream(conn, o.PingInterval, o.IdleTimeout), nil
	case response != nil:
		return nil, fmt.Errorf("the WebSocket host %s refused the connection (HTTP %d)", host, response.StatusCode)
	}
	return nil, fmt.Errorf("the WebSocket host %s can't be reached", host)
}

// dial connects as every known client of ECI does: no subprotocol, no header, and no
// authentication but the token in the URI. Its errors may hold that token and must not be
// passed on.
func dial(ctx context.Context, uri string, connect time.Duration) (*websocket.Conn, *http.Response, error) {
	// The connection of a refused handshake must not be kept: nobody would use it again.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: connect}).DialContext, DisableKeepAlives: true}
	return websocket.Dial(ctx, uri, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		CompressionMode: websocket.CompressionDisabled,
	})
}
