package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

func execAssumptions() []Assumption {
	return []Assumption{
		{Switch: "ExecStartsAtCall", What: "an exec starts with the call or with the connection", ask: startsAtCall},
		{Switch: "EmptyFirstFrame", What: "an empty message comes first",
			ask: framed(func(m messages) bool { return m.emptyFirst }, "an empty message comes first", "the first message holds output")},
		{Switch: "ExecTextFrames", What: "output comes as text or as binary messages",
			ask: framed(func(m messages) bool { return m.text }, "output comes as text messages", "output comes as binary messages")},
		{Switch: "ExecNoChannelByte", What: "each message begins with the byte of its channel",
			ask: framed(func(m messages) bool { return m.plain }, "messages have no channel byte", "each message begins with its channel's byte")},
		{Switch: "ExecErrorChannel", What: "an exit status that is not 0 comes over the socket",
			ask: framed(func(m messages) bool { return m.status }, "an exit status comes as text on channel 3", "no exit status comes over the socket")},
		{Switch: "ExecClosesAtExit", What: "an exec's connection ends with the process or with its output", ask: closesAtExit},
		{Switch: "ExecKilledAtDisconnect", What: "an exec outlives its connection", ask: killedAtDisconnect},
		{Switch: "ExecWithoutStdinEndsEarly", What: "an exec without stdin ends after its first output", ask: endsEarly},
		{Switch: "ExecMaxFrame", What: "the largest message that may be sent", ask: maxFrame},
		{Switch: "ExecMaxSessions", What: "sockets at once into one group", ask: maxSessions},
		{Switch: "ExecLongCommandAllowed", What: "a word of 257 characters in an exec's Command", ask: func(ctx context.Context, l *live) (verdict, error) {
			return l.accepted(ctx, []string{"true", strings.Repeat("x", 257)}, func(is bool) (verdict, error) {
				return yesNo(is, "a word of 257 characters is accepted", "a word of 257 characters is refused")
			})
		}},
		{Switch: "ExecCommandBytes", What: "bytes of an exec's Command in all", ask: func(ctx context.Context, l *live) (verdict, error) {
			command := append([]string{"true"}, strings.Split(strings.Repeat(strings.Repeat("x", 250)+" ", 9), " ")[:9]...)
			return l.accepted(ctx, command, func(is bool) (verdict, error) {
				if is {
					return verdict{"0", "2300 bytes in ten words are accepted"}, nil
				}
				return verdict{"2048", "2300 bytes in ten words are refused, as others have found for more than 2048"}, nil
			})
		}},
		{Switch: "ExecBashNeedsTTY", What: "/bin/bash without TTY", ask: func(ctx context.Context, l *live) (verdict, error) {
			return l.accepted(ctx, []string{"/bin/bash"}, func(is bool) (verdict, error) {
				return yesNo(!is, "/bin/bash is refused without TTY", "/bin/bash is accepted without TTY")
			})
		}},
		{Switch: "ExecSubprotocol", What: "subprotocols v4, v5.channel.k8s.io", ask: subprotocol},
		{Switch: "ExecSyncExitError", What: "Sync: an exit status that is not 0", ask: syncExit},
	}
}

// await asks a script again until it prints yes, or settle is over.
func (l *live) await(ctx context.Context, script string) (bool, error) {
	for until := l.Clock.Now().Add(l.Settle); ; {
		said, err := l.answer(ctx, "helper", script+" && echo yes")
		if err != nil || strings.Contains(said, "yes") {
			return err == nil, err
		}
		if l.Clock.Now().After(until) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-l.Clock.After(l.Settle / 10):
		}
	}
}

// startsAtCall calls and never dials.
func startsAtCall(ctx context.Context, l *live) (verdict, error) {
	mark := l.file("start")
	if _, err := l.call(ctx, nil, sh("echo x >"+mark)); err != nil {
		return verdict{}, err
	}
	is, err := l.await(ctx, "[ -e "+mark+" ]")
	if err != nil {
		return verdict{}, err
	}
	return yesNo(is, "an exec starts with the call", "an exec that nobody dials does not start")
}

// messages is what the messages of an exec are like.
type messages struct{ emptyFirst, text, plain, status bool }

// framed tells something about the messages of an exec.
func framed(is func(messages) bool, yes, no string) func(context.Context, *live) (verdict, error) {
	return func(ctx context.Context, l *live) (verdict, error) {
		m, err := l.look(ctx)
		if err != nil {
			return verdict{}, err
		}
		return yesNo(is(m), yes, no)
	}
}

// look takes the messages of one exec, once for all who ask.
func (l *live) look(ctx context.Context) (messages, error) {
	if l.looked != nil {
		return *l.looked, nil
	}
	conn, err := l.open(ctx, nil, sh("echo out; sleep 1; exit 3"))
	if err != nil {
		return messages{}, err
	}
	frames, _ := read(ctx, conn, l.Settle+2*time.Second, "")
	conn.CloseNow() //nolint:errcheck // nothing is owed
	if !strings.Contains(bytesOf(frames), "out") {
		return messages{}, errNotTold
	}
	m := messagesOf(frames)
	l.looked = &m
	return m, nil
}

// messagesOf reads off the messages of a command that prints "out" and exits with 3.
func messagesOf(frames []frame) messages {
	m := messages{text: frames[0].text}
	for _, f := range frames {
		if strings.Contains(string(f.data), "out") {
			m.plain = f.data[0] == 'o'
		}
	}
	header := 1
	if m.plain {
		header = 0
	}
	m.emptyFirst = len(frames[0].data) <= header
	for _, f := range frames {
		m.status = m.status || !m.plain && len(f.data) > 1 && f.data[0] == 3 || m.plain && strings.Contains(string(f.data), "exit")
	}
	return m
}

// closesAtExit leaves a child behind that holds the output until it is told to end.
func closesAtExit(ctx context.Context, l *live) (verdict, error) {
	mark := l.file("child")
	conn, err := l.open(ctx, nil, sh("(n=0; while [ ! -e "+mark+" ] && [ $n -lt 30 ]; do n=$((n+1)); sleep 1; done) & echo out"))
	if err != nil {
		return verdict{}, err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is owed
	if frames, _ := read(ctx, conn, callLimit, "out"); !strings.Contains(bytesOf(frames), "out") {
		return verdict{}, errNotTold
	}
	_, is := read(ctx, conn, l.Settle, "")
	if _, err := l.answer(ctx, "helper", "echo x >"+mark); err != nil {
		return verdict{}, err
	}
	return yesNo(is, "a connection ends with the process", "a connection stays as long as a child holds the output")
}

// killedAtDisconnect drops a connection and looks for the process.
func killedAtDisconnect(ctx context.Context, l *live) (verdict, error) {
	mark := l.file("pid")
	conn, err := l.open(ctx, nil, sh("echo $$ >"+mark+"; echo out; sleep 30; :"))
	if err != nil {
		return verdict{}, err
	}
	frames, _ := read(ctx, conn, callLimit, "out")
	conn.CloseNow() //nolint:errcheck // that is the point
	if !strings.Contains(bytesOf(frames), "out") {
		return verdict{}, errNotTold
	}
	is, err := l.await(ctx, "! kill -0 $(cat "+mark+") 2>/dev/null")
	if err != nil {
		return verdict{}, err
	}
	return yesNo(is, "a process ends with its connection", "a process outlives its connection")
}

// endsEarly has two outputs a second apart, and no stdin.
func endsEarly(ctx context.Context, l *live) (verdict, error) {
	conn, err := l.open(ctx, eci.Params{"Stdin": "false"}, sh("echo one; sleep 1; echo two"))
	if err != nil {
		return verdict{}, err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is owed
	frames, ended := read(ctx, conn, callLimit, "two")
	if got := bytesOf(frames); !strings.Contains(got, "one") || !ended && !strings.Contains(got, "two") {
		return verdict{}, errNotTold
	}
	return yesNo(!strings.Contains(bytesOf(frames), "two"), "without stdin a connection ends after the first output", "without stdin all output comes")
}

// maxFrame sends one large message, and smaller ones until one is taken.
func maxFrame(ctx context.Context, l *live) (verdict, error) {
	for _, kib := range []int{64, 32, 16} {
		size := kib<<10 - 1 // of stdin; the channel byte makes it whole
		conn, err := l.open(ctx, nil, sh(fmt.Sprintf("dd bs=1 count=%d 2>/dev/null | wc -c; echo all", size)))
		if err != nil {
			return verdict{}, err
		}
		err = conn.Write(ctx, websocket.MessageBinary, make([]byte, size+1))
		frames, _ := read(ctx, conn, callLimit, "all")
		conn.CloseNow() //nolint:errcheck // nothing is owed
		if err == nil && strings.Contains(bytesOf(frames), fmt.Sprint(size)) {
			if kib == 64 {
				return verdict{"0", "a message of 64 KiB is taken"}, nil
			}
			return verdict{fmt.Sprint(kib << 10), fmt.Sprintf("a message of %d KiB is taken, one of %d KiB is not", kib, 2*kib)}, nil
		}
	}
	return verdict{}, fmt.Errorf("no message of 16 KiB or more is taken")
}

// mostSessions is how many sockets are tried at once.
const mostSessions = 6

func maxSessions(ctx context.Context, l *live) (verdict, error) {
	opened := 0
	for ; opened < mostSessions; opened++ {
		conn, err := l.open(ctx, nil, sh("echo out; read x"))
		if err != nil {
			break
		}
		defer conn.CloseNow() //nolint:errcheck // all of them at the end
	}
	switch opened {
	case 0:
		return verdict{}, errNotTold
	case mostSessions:
		return verdict{"0", fmt.Sprintf("%d sockets at once are taken", opened)}, nil
	}
	return verdict{fmt.Sprint(opened), fmt.Sprintf("%d sockets at once are taken, one more is refused", opened)}, nil
}

// subprotocol offers both of Kubernetes. A handshake that is refused may have another
// cause, which one without an offer then shows.
func subprotocol(ctx context.Context, l *live) (verdict, error) {
	conn, err := l.open(ctx, nil, sh("true"), "v5.channel.k8s.io", "v4.channel.k8s.io")
	if err != nil {
		plain, plainErr := l.open(ctx, nil, sh("true"))
		if plainErr != nil {
			return verdict{}, err
		}
		plain.CloseNow() //nolint:errcheck // nothing is owed
		return verdict{"refused", "who offers v4 and v5.channel.k8s.io is refused"}, nil
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is owed
	if taken := conn.Subprotocol(); taken != "" {
		return verdict{taken, "is taken where it is offered with another one"}, nil
	}
	return verdict{"", "neither v4 nor v5.channel.k8s.io is taken where both are offered"}, nil
}

// accepted asks for an exec that is never dialled.
func (l *live) accepted(ctx context.Context, command []string, f func(bool) (verdict, error)) (verdict, error) {
	_, err := l.call(ctx, nil, command)
	if err != nil && (eci.CodeOf(err) == "" || eci.Ambiguous(err)) {
		return verdict{}, err
	}
	return f(err == nil)
}

func syncExit(ctx context.Context, l *live) (verdict, error) {
	_, err := l.client.Ask(ctx, "ExecContainerCommand", eci.Params{"ContainerGroupId": l.group.ID, "ContainerName": "helper",
		"Command": `["sh","-c","echo out; exit 7"]`, "TTY": "false", "Sync": "true", "Stdin": "false"})
	code := eci.CodeOf(err)
	switch {
	case err == nil:
		return verdict{"", "Sync answers with the output alone, whatever the exit status"}, nil
	case code == "":
		return verdict{}, err
	}
	return verdict{code, "Sync answers with an error where the exit status is not 0"}, nil
}
