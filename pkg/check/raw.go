package check

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// call asks for an exec in helper and returns the address to dial, which holds a token
// and is never shown.
func (l *live) call(ctx context.Context, more eci.Params, command []string) (string, error) {
	words, err := json.Marshal(command)
	if err != nil {
		return "", err
	}
	params := eci.Params{"ContainerGroupId": l.group.ID, "ContainerName": "helper", "Command": string(words), "TTY": "false", "Stdin": "true"}
	maps.Copy(params, more)
	answer, err := l.client.Ask(ctx, "ExecContainerCommand", params)
	if err != nil {
		return "", err
	}
	var address struct{ WebSocketUri string }
	if json.Unmarshal(answer, &address) != nil || address.WebSocketUri == "" {
		return "", errors.New("the answer holds no WebSocketUri")
	}
	return address.WebSocketUri, nil
}

// open dials an exec in helper as it is, without what eci.Stream makes of it.
// Subprotocols are offered where there are any.
func (l *live) open(ctx context.Context, more eci.Params, command []string, subprotocols ...string) (conn *websocket.Conn, err error) {
	err = l.again(ctx, func() error {
		uri, err := l.call(ctx, more, command)
		if err == nil {
			conn, err = dial(ctx, uri, subprotocols)
		}
		return err
	})
	return conn, err
}

// again repeats what needs a socket until that is had or settle is over: where sockets are
// counted, one that was closed just now may still count.
func (l *live) again(ctx context.Context, f func() error) error {
	for until := l.Clock.Now().Add(l.Settle); ; {
		err := f()
		if err == nil || l.Clock.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-l.Clock.After(l.Settle / 10):
		}
	}
}

func dial(ctx context.Context, uri string, subprotocols []string) (*websocket.Conn, error) {
	conn, response, err := websocket.Dial(ctx, uri, &websocket.DialOptions{CompressionMode: websocket.CompressionDisabled, Subprotocols: subprotocols,
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}})
	switch {
	case err != nil && response != nil:
		return nil, errors.New("the handshake was refused: " + response.Status)
	case err != nil: // its text holds the address
		return nil, errors.New("the WebSocket host can't be reached")
	}
	conn.SetReadLimit(-1)
	return conn, nil
}

// frame is a message of an exec.
type frame struct {
	text bool
	data []byte
}

// read takes messages until the connection ends, one holds until (unless that is ""),
// or the time is over.
func read(ctx context.Context, conn *websocket.Conn, limit time.Duration, until string) (frames []frame, ended bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return frames, ctx.Err() == nil
		}
		frames = append(frames, frame{kind == websocket.MessageText, data})
		if until != "" && strings.Contains(bytesOf(frames), until) {
			return frames, false
		}
	}
}

// bytesOf is all that came, channel bytes and all.
func bytesOf(frames []frame) string {
	var b strings.Builder
	for _, f := range frames {
		b.Write(f.data)
	}
	return b.String()
}
