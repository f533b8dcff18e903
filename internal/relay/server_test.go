package relay

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// An exec whose dial took longer than a stage waits is there for the next one.
func TestLateDial(t *testing.T) {
	t.Parallel()
	w := newWorld(t, patient(), time.Now().Add(time.Hour))
	if _, err := Open(t.Context(), w.socket, "id", "slow", 10*time.Millisecond); !errors.Is(err, ErrWedged) {
		t.Fatalf("the dial is waited for: %v", err)
	}
	<-w.dialled // else the relay may hear of the next question first
	close(w.answered)
	answers(t, w.take(t), "line\n")
}

// What a relay is asked that it does not know, as by a driver that was upgraded in the
// middle of a job, it refuses at once, and keeps its exec.
func TestUnknownQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, patient(), time.Now().Add(time.Hour))
	w.hold(t, "a")
	if _, err := ask(w.socket, 'z', []byte("words"), long, func() {}); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("the relay answers with %v", err)
	}
	answers(t, w.take(t), "line\n")
}

// A relay that was asked to end has no file any more when it says that it does: what is
// at its path then is another's, which it would else take away.
func TestQuitTakesTheSocketAwayFirst(t *testing.T) {
	t.Parallel()
	for range 20 { // once it may be gone by chance
		w := newWorld(t, patient(), time.Now().Add(time.Hour))
		if _, err := ask(w.socket, kindQuit, nil, long, func() {}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(w.socket); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the socket is still there: %v", err)
		}
	}
}
