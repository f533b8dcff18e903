package stream

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay"
	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
)

// accident is a signal to the relay of a world's group.
type accident struct {
	signal syscall.Signal
	within time.Duration // of the stage's start, drawn; 0 = before it
	goesOn time.Duration // after which it does, 0 = never
}

// shared tells whether the cell's stage may share an exec with others.
func (c cell) shared() bool {
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == c.kind })
	return i >= 0 && kinds()[i].shared
}

// strike has the cell's accident happen to the relay; healed returns when it is over.
func (w *world) strike(c cell) (healed func()) {
	a := c.fault.relay
	if a == nil {
		return func() {}
	}
	// By a descriptor of the kernel: when the signal comes a relay may have ended, and
	// its pid be that of anything.
	var struck []*os.Process
	for _, pid := range relaytest.Running(w.config.StateDir) {
		if process, err := os.FindProcess(pid); err == nil {
			struck = append(struck, process)
		}
	}
	send := func(s syscall.Signal) {
		for _, process := range struck {
			process.Signal(s) //nolint:errcheck // it may have ended
		}
	}
	if a.within == 0 {
		send(a.signal)
		return func() {}
	}
	over := make(chan struct{})
	after := time.Duration(rand.New(rand.NewPCG(c.seed, 1)).Int64N(int64(a.within)))
	time.AfterFunc(after, func() {
		defer close(over)
		send(a.signal)
		if a.goesOn > 0 {
			time.Sleep(a.goesOn) // the fault
			send(syscall.SIGCONT)
		}
	})
	return func() { <-over }
}

// loseExec has the relay drop its exec, so that the next stage makes another.
func (w *world) loseExec() {
	sockets, _ := filepath.Glob(filepath.Join(w.config.StateDir, "relay", "*"))
	for _, socket := range sockets {
		if loan, err := relay.Take(socket, time.Second, func() {}); err == nil {
			loan.Close() //nolint:errcheck // that is what drops it
		}
	}
}

func (w *world) noRelay() {
	var left []int
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if left = relaytest.Running(w.config.StateDir); len(left) == 0 {
			return
		}
	}
	w.t.Errorf("relays %v are left", left)
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // a stopped one does not end with its socket
	}
}
