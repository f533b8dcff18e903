package eci

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

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
// all as clients have found (eci-exec.md, 3).
const (
	mostWords     = 20
	mostWordBytes = 256
	mostBytes     = 2048
)

// Exec starts a process and connects to it. Whether it starts with the call or
// with the connection is not documented; a URI is dialled at once and never
// twice. stdin is always on, because some stacks end an exec without it early.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*Stream, error) {
	command, err := encodeCommand(r.Command)
	if err != nil {
		return nil, err
	}
	params := Params{
		"ContainerGroupId": r.GroupID, "ContainerName": r.Container,
		"Command": command, "TTY": fmt.Sprint(r.TTY), "Stdin": "true",
	}
	var answer struct{ WebSocketUri string }
	call := call{"ExecContainerCommand", "exec in container " + r.Container + " of", r.GroupID, params}
	if err := c.do(ctx, call, &answer); err != nil {
		return nil, err
	}
	return c.dial(ctx, call, answer.WebSocketUri)
}

func encodeCommand(words []string) (string, error) {
	for _, w := range words {
		if len(w) > mostWordBytes {
			return "", fmt.Errorf("a word of the command has %d bytes, ECI takes %d", len(w), mostWordBytes)
		}
	}
	text, err := json.Marshal(words)
	if err != nil {
		return "", err
	}
	if len(words) == 0 || len(words) > mostWords || len(text) > mostBytes {
		return "", fmt.Errorf("the command has %d words and %d bytes, ECI takes 1 to %d and %d", len(words), len(text), mostWords, mostBytes)
	}
	return string(text), nil
}

// dial connects as every known client of ECI does: no subprotocol, no header,
// no authentication but the token in the URI, which is why errors leave it out.
func (c *Client) dial(ctx context.Context, call call, uri string) (*Stream, error) {
	target, err := url.Parse(uri)
	if err != nil || target.Host == "" {
		return nil, &Error{Op: call.op, ID: call.id, Message: "the answer holds no usable WebSocketUri"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.CallTimeout)
	defer cancel()
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	conn, response, err := websocket.Dial(ctx, uri, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		e := &Error{Op: call.op, ID: call.id, Action: call.action, Endpoint: target.Host, Region: c.options.Region, cause: ctx.Err(),
			Message: fmt.Sprintf("the WebSocket host %s can't be reached", target.Host)}
		if response != nil {
			e.Message = fmt.Sprintf("the WebSocket host %s refused the connection (HTTP %d)", target.Host, response.StatusCode)
		}
		return nil, e
	}
	return newStream(conn, c.options.PingInterval, c.options.IdleTimeout), nil
}
