package stages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
)

const turnsOfProcess = "ECI_EXECUTOR_TEST_TURNS_IN" // state_dir of a process that takes turns

var execRate = HostRate(actionExec)

var turnsBegin = time.Unix(1_800_000_000, 0)

// stands is a clock that stands.
func stands(now time.Time) func() time.Time { return func() time.Time { return now } }

// Not a test: takes turns as one process of many.
func TestTurnsOfOneProcess(t *testing.T) {
	dir := os.Getenv(turnsOfProcess)
	if dir == "" {
		t.Skip("is run by TestTurnsOfManyProcesses")
	}
	for range 50 {
		fmt.Printf("wait %d\n", store{dir}.takeTurn(actionExec, execRate, stands(turnsBegin)))
	}
}

// However many processes want a turn at one moment, each gets one of its own: a burst
// at once, the rest at the rate.
func TestTurnsOfManyProcesses(t *testing.T) {
	dir := t.TempDir()
	const processes = 4
	outputs := make(chan []byte, processes)
	for range processes {
		go func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestTurnsOfOneProcess$")
			cmd.Env = append(os.Environ(), turnsOfProcess+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			outputs <- out
		}()
	}
	var waits []time.Duration
	for range processes {
		for line := range strings.Lines(string(<-outputs)) {
			var wait time.Duration
			if n, _ := fmt.Sscanf(line, "wait %d", &wait); n == 1 {
				waits = append(waits, wait)
			}
		}
	}
	slices.Sort(waits)
	if len(waits) != 50*processes {
		t.Fatalf("%d turns", len(waits))
	}
	for i, wait := range waits {
		if want := time.Duration(i-(execRate.Burst-1)) * execRate.every(); wait != want {
			t.Fatalf("turn %d comes after %s, want %s", i, wait, want)
		}
	}
}

// In no minute are there more turns than the rate and one burst.
func TestTurnsKeepTheRate(t *testing.T) {
	s := store{t.TempDir()}
	var made []time.Time
	now := turnsBegin
	for i := range 1500 {
		made = append(made, now.Add(max(0, s.takeTurn(actionExec, execRate, stands(now)))))
		if i%100 == 99 {
			now = now.Add(7 * time.Second)
		}
	}
	slices.SortFunc(made, time.Time.Compare)
	for i, at := range made {
		end := i
		for end < len(made) && made[end].Sub(at) < time.Minute {
			end++
		}
		if end-i > execRate.PerMinute+execRate.Burst {
			t.Fatalf("%d turns in the minute from %s", end-i, at.Sub(turnsBegin))
		}
	}
	if most := execRate.PerMinute + execRate.Burst; most > 450 {
		t.Errorf("%d execs a minute leave too little of the account's 500", most)
	}
}

// A host's part of the documented limits leaves some of them to other hosts.
func TestHostRates(t *testing.T) {
	for action, documented := range map[string]int{actionCreate: 1000, actionDelete: 1000, actionPrice: 1000, actionDescribe: 2000, actionLog: 500, actionExec: 500} {
		if r := HostRate(action); r.PerMinute+r.Burst > documented*9/10 {
			t.Errorf("%s: up to %d calls a minute, of %d documented", action, r.PerMinute+r.Burst, documented)
		}
	}
}

func TestTurnsUnderAnotherClock(t *testing.T) {
	s := store{t.TempDir()}
	for range 100 {
		s.takeTurn(actionExec, execRate, stands(turnsBegin.Add(24*time.Hour)))
	}
	if wait := s.takeTurn(actionExec, execRate, stands(turnsBegin)); wait > 0 {
		t.Errorf("after the clock was set back, a turn comes after %s", wait)
	}
	if wait := s.takeTurn(actionExec, execRate, stands(turnsBegin.Add(time.Hour))); wait > 0 {
		t.Errorf("after an hour, a turn comes after %s", wait)
	}
}

// A clock that is set back by less than the longest queue makes nobody wait for that:
// the queue is as long as it was.
func TestTurnsAfterTheClockWasSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 10 * time.Second, 5 * time.Minute} {
		for _, queued := range []int{1, 60} {
			t.Run(fmt.Sprintf("%s, %d calls", back, queued), func(t *testing.T) {
				s := store{t.TempDir()}
				for range queued {
					s.takeTurn(actionExec, execRate, stands(turnsBegin.Add(back)))
				}
				for i := range 3 {
					want := time.Duration(queued+i-(execRate.Burst-1)) * execRate.every()
					if wait := s.takeTurn(actionExec, execRate, stands(turnsBegin)); wait != want {
						t.Errorf("call %d after it comes after %s, want %s", i, wait, want)
					}
				}
			})
		}
	}
}

// The clock is asked when the file is had: what a turn waits for that is no clock that
// was set back.
func TestTurnAsksTheClockInItsTurn(t *testing.T) {
	s := store{t.TempDir()}
	asked := 0
	s.takeTurn(actionExec, execRate, func() time.Time {
		asked++
		release, err := s.claim(s.turnsPath(actionExec))
		release()
		if !errors.Is(err, errLocked) {
			t.Errorf("another turn may have the file when the clock is asked: %v", err)
		}
		return turnsBegin
	})
	if asked != 1 {
		t.Errorf("the clock is asked %d times", asked)
	}
}

// waitingClock goes on only when somebody waits, and tells for how long.
type waitingClock struct {
	now    time.Time
	waited []time.Duration
}

func (c *waitingClock) Now() time.Time { return c.now }

func (c *waitingClock) After(d time.Duration) <-chan time.Time {
	c.waited = append(c.waited, d)
	c.now = c.now.Add(d)
	done := make(chan time.Time, 1)
	done <- c.now
	return done
}

func TestExecTurnWaits(t *testing.T) {
	clock := &waitingClock{now: turnsBegin}
	s := &Stage{Clock: clock, Config: &config.Config{StateDir: t.TempDir()}}
	ctx := context.Background()
	for range execRate.Burst {
		if err := s.turn(ctx, actionExec, false); err != nil {
			t.Fatal(err)
		}
	}
	if len(clock.waited) > 0 {
		t.Fatalf("a burst waited %s", clock.waited)
	}
	for range 3 {
		if err := s.turn(ctx, actionExec, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.turn(ctx, actionExec, true); err != nil {
		t.Fatal(err)
	}
	if len(clock.waited) != 3 || clock.waited[0] != execRate.every() {
		t.Errorf("waited %s, want three times %s and not for what is urgent", clock.waited, execRate.every())
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.turn(ended, actionExec, true); err == nil {
		t.Error("a turn for what is over")
	}
	s.Config = &config.Config{StateDir: "/dev/null/state"}
	if err := s.turn(ctx, actionExec, false); err != nil {
		t.Errorf("without a state_dir: %v", err)
	}
}
