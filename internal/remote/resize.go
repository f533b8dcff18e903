package remote

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"
)

// resize passes the terminal's size on whenever it changes: in a frame, and also by stty
// beside the command until a frame is seen to have changed the size there. note gets one
// line where neither works.
func (r *shellRun) resize(ctx context.Context, pid string, note chan<- string) {
	byFrame := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Terminal.Resized:
		}
		select { // a window that is dragged changes its size many times
		case <-ctx.Done():
			return
		case <-time.After(resizePause):
		}
		select {
		case <-r.Terminal.Resized:
		default:
		}
		columns, rows, err := r.Terminal.Size()
		if err != nil {
			continue
		}
		frameErr := r.conn.Resize(columns, rows)
		if byFrame && frameErr == nil {
			continue
		}
		said, err := r.setSize(ctx, pid, columns, rows)
		switch byFrame = said == "same"; {
		case ctx.Err() != nil:
			return
		case said == "":
			text := "the terminal's new size could not be passed on: it takes resize frames of ECI, or stty in the container"
			if err != nil {
				text += fmt.Sprintf(" (%v)", err)
			}
			select {
			case note <- text:
			default: // it was said already
			}
		}
	}
}

// setSize returns same where the terminal in the container has the size already (by a frame),
// set where stty has changed it, "" where that is not known.
func (r *shellRun) setSize(ctx context.Context, pid string, columns, rows int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// Time for the frame to take effect.
	select {
	case <-ctx.Done():
	case <-time.After(resizePause):
	}
	conn, err := r.Open(ctx, []string{"sh", "-c", resizer, pid, fmt.Sprint(rows), fmt.Sprint(columns)}, false)
	if err != nil {
		return "", err
	}
	defer conn.Close()                                          //nolint:errcheck // nothing is owed to it
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends a read that gets nothing
	defer stop()
	line, _ := bufio.NewReader(stdoutOf{conn}).ReadString('\n')
	if line != "same\n" && line != "set\n" {
		return "", nil
	}
	return strings.TrimSpace(line), nil
}

// stdoutOf reads the stdout of a connection.
type stdoutOf struct{ Frames }

func (s stdoutOf) Read(p []byte) (int, error) {
	for {
		stderr, data, err := s.Next()
		if err != nil || !stderr && len(data) > 0 {
			return copy(p, data), err // a few bytes, and p is a page
		}
	}
}
