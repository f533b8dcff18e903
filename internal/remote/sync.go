package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Sync opens execs where no WebSocket can be opened. Its streams carry what those of a
// WebSocket do, so a Session sees no difference but in time: stdin goes in as words of
// commands, and each piece of output is the answer of one exec, which eci-remote-sync.sh
// makes. An answer that is missing, cut or damaged ends the stream, as a lost connection does.
type Sync struct {
	// Exec runs command in the container to its end and returns what it printed.
	Exec func(ctx context.Context, container Role, command []string) (string, error)
	// Turn waits for the exec's turn in the queue of this host's calls; an urgent one
	// does not wait.
	Turn     func(ctx context.Context, urgent bool) error
	Limits   CommandLimits
	Settings Settings

	mu    sync.Mutex
	learn learned
}

// CommandLimits bound the command of an exec.
type CommandLimits struct{ Words, WordBytes, Bytes int } // Bytes: as a JSON array

// learned is what Sync keeps from one stream to the next.
type learned struct {
	run     string        // whose script is being sent
	sent    int           // how many pieces of it have arrived, from the first on
	most    int           // bytes of log that one answer may carry
	cap     int           // what most may grow to
	arrived int           // bytes of the last answer that was cut
	hold    time.Duration // how long an exec waits for something to tell
	whole   int           // answers that came whole since hold was changed
	swept   time.Time     // when the run's container was first swept
}

// How many bytes of log one answer carries. In base64 firstAnswer makes less than 64 KiB,
// mostAnswer 256 KiB. Nobody documents at what length ECI cuts an answer.
const (
	firstAnswer = 32 << 10
	mostAnswer  = 186 << 10
	leastAnswer = 4 << 10
)

// Each exec that is given up halves the hold, and every holdAgain answers double it again.
// So a hold comes back within a quarter of an hour where calls were lost for another reason,
// and a server that gives up longer ones costs one exec in holdAgain.
const (
	leastHold = 64 // the part of Settings.PollHold that the hold does not fall below
	holdAgain = 64
)

func (s *Sync) learned() learned {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.learn.most == 0 {
		s.learn.most, s.learn.cap, s.learn.hold = firstAnswer, mostAnswer, s.Settings.PollHold
	}
	return s.learn
}

func (s *Sync) learning(change func(*learned)) {
	s.learned()
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.learn)
}

// filled is called after an answer with as much log as it may carry: the next may carry more.
func (s *Sync) filled() {
	s.learning(func(l *learned) { l.most = min(2*l.most, l.cap) })
}

// cut is called with the length of an answer that was cut short: the next carries less. Two
// of the same length mean that the server has a limit there.
func (s *Sync) cut(arrived int) {
	s.learning(func(l *learned) {
		if arrived == l.arrived {
			l.cap = min(l.cap, max(arrived*7/10, leastAnswer)) // base64 makes 4/3 of it, and an envelope stands around it
		}
		l.arrived = arrived
		l.most = max(min(l.most/2, l.cap), leastAnswer)
	})
}

// answered is called after an answer that came: after holdAgain of them the next holds longer.
func (s *Sync) answered() {
	s.learning(func(l *learned) {
		if l.whole++; l.whole >= holdAgain {
			l.hold, l.whole = min(2*l.hold, s.Settings.PollHold), 0
		}
	})
}

// failed is called after an exec, asked to hold for so long, that failed after a while. If
// that was long, the server may not wait for a command any longer: the next holds less. Else
// it may refuse an answer that is longer than those before: the next carries less.
func (s *Sync) failed(hold, after time.Duration) {
	s.learning(func(l *learned) {
		switch {
		case after >= hold/2:
			l.hold, l.whole = max(min(l.hold, hold/2), s.Settings.PollHold/leastHold), 0
		case l.most > firstAnswer:
			l.cap = max(l.most/2, firstAnswer)
			l.most = firstAnswer
		}
	})
}

// Open takes the place of Session.Open, for the commands that a Session uses: attach and
// stop. It makes no call yet.
func (s *Sync) Open(ctx context.Context, container Role, command []string) (Stream, error) {
	x := &syncStream{Sync: s, container: container, stop: make(chan struct{}), whole: make(chan []byte, 1), opened: time.Now()}
	var serve func(context.Context) error
	switch verb, words := command[2], command[3:]; verb {
	case "attach":
		if err := x.parse(words); err != nil {
			return nil, err
		}
		serve = x.attach
	case "stop":
		x.run, x.role = words[0], words[1]
		serve = x.sweep
	default:
		return nil, fmt.Errorf("an exec of %s can't be made without a WebSocket", verb)
	}
	x.PipeReader, x.out = io.Pipe()
	ctx, x.cancel = context.WithCancel(context.WithoutCancel(ctx)) // the run's ctx ends with a cancel, but the stop goes over this stream
	go func() {
		x.out.CloseWithError(serve(ctx)) // never fails
	}()
	return x, nil
}

// syncStream is one stream of Sync.
type syncStream struct {
	*Sync
	*io.PipeReader
	out       *io.PipeWriter
	cancel    context.CancelFunc
	container Role
	opened    time.Time

	// The words of the attach.
	run, role, shell, nonce string
	size                    int  // of the script, until that was written
	upload                  bool // the script is to be sent
	offset                  int64
	beat                    time.Duration

	// What was written.
	in      []byte
	whole   chan []byte   // the script and the line behind it
	stop    chan struct{} // closed when a stop was asked for
	stopped sync.Once
	writing sync.Mutex
}

// parse reads the words of run.attach.
func (x *syncStream) parse(words []string) error {
	size, offset, err := twoNumbers(words[4], words[5])
	beat, err2 := number(words[7])
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	x.run, x.role, x.shell, x.nonce = words[0], words[2], words[3], words[6]
	x.size, x.upload, x.offset = int(size), size > 0, offset
	x.beat = max(time.Duration(beat)*time.Millisecond, time.Millisecond)
	return nil
}

// Write takes what an attach reads from stdin: the script, the nonce as a line, and then
// words, of which only stop has a meaning here.
func (x *syncStream) Write(p []byte) (int, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.in = append(x.in, p...)
	if script := x.size + len(x.nonce) + 1; x.size > 0 && len(x.in) >= script {
		x.whole <- x.in[:script:script]
		x.in, x.size = x.in[script:], 0
	}
	if x.size == 0 && string(x.in) == "stop\n" {
		x.stopped.Do(func() { close(x.stop) })
	}
	if x.size == 0 {
		x.in = nil
	}
	return len(p), nil
}

// Stderr is empty: what is printed there comes among the output, as an answer that is damaged.
func (x *syncStream) Stderr() string { return "" }

// Close ends the stream. An exec that is under way ends by itself.
func (x *syncStream) Close() error {
	x.cancel()
	return x.PipeReader.Close()
}
