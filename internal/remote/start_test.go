package remote

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestStaleStart: a script that was asked for and not started yet, its driver gone, is
// not started any more when the next one comes, whichever of them would be found first.
func TestStaleStart(t *testing.T) {
	for _, run := range []string{"0000000000000000", "ffffffffffffffff"} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, nil)
			if _, _, err := g.run(t, Build, "exit 0"); err != nil {
				t.Fatal(err)
			}
			g.warmWaits(t, Build)
			g.outputOf(t, Helper, fmt.Sprintf(`umask 0; cd /.eci/control; echo >%[1]s.seat; printf '%%-127s\n' pending >%[1]s.exit
echo 'echo >>/builds/stale' >%[1]s.first.script; echo first bash nonce >%[1]s.build.start`, run))
			for _, script := range []string{"echo first", "echo second"} {
				if result, log, err := g.run(t, Build, script); err != nil || result.Status != 0 || log != script[5:]+"\n" {
					t.Errorf("%s: status %d, log %q, error %v", script, result.Status, log, err)
				}
			}
			if got := g.outputOf(t, Helper, "cat /.eci/control/"+run+".exit; ls /builds"); got != "exit 143 stopped - none end" {
				t.Errorf("the stale script: %q", got)
			}
		})
	}
}

// TestEmptyScript: a script of no bytes ends, well.
func TestEmptyScript(t *testing.T) {
	g := newGroup(t, nil)
	shared := &lender{g: g}
	for name, run := range map[string]func() (Result, string, error){
		"own exec":    func() (Result, string, error) { return g.run(t, Build, "") },
		"shared exec": func() (Result, string, error) { return shared.run(t, Build, "") },
	} {
		if result, log, err := run(); err != nil || result.Status != 0 || log != "" {
			t.Errorf("%s: status %d, log %q, error %v", name, result.Status, log, err)
		}
	}
}

// TestStartOfAnOlderExec: the start that an older exec wrote with its last step, though
// the newer one has emptied its script meanwhile, is what the warm shell goes by. What
// then ran was not the script.
func TestStartOfAnOlderExec(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute // of two execs that are the newer one, the second waits for ever
	var log strings.Builder
	session := g.session(t, &log)
	session.Open = func(_ context.Context, role Role, command []string) (Stream, error) {
		stream, err := g.exec(role, command)
		return &late{Stream: stream, g: g, t: t, command: command}, err
	}
	result, err := session.Run(t.Context(), Job{Role: Build, Shell: "sh", Body: []byte("exit 3")})
	if err == nil || !strings.Contains(err.Error(), "the script that ran is not the script that was sent") {
		t.Errorf("status %d, log %q, error %v", result.Status, log.String(), err)
	}
}

// late has an older exec write its start before the first bytes reach the newer one, which
// has looked for one before it waits for them.
type late struct {
	Stream
	g       *group
	t       *testing.T
	command []string
	done    bool
}

func (s *late) Write(p []byte) (int, error) {
	if !s.done {
		s.done = true
		run, exec := s.command[3], s.command[4]
		s.g.outputOf(s.t, Helper, fmt.Sprintf(`umask 0; cd /.eci/control; until [ -e %[1]s.%[2]s.script ]; do sleep 0.01; done
true >%[1]s.older.script; echo older sh %[3]s >%[1]s.build.start
until grep -q '^exit 0 .* end' %[1]s.exit; do echo wake 1<>build.go; sleep 0.01; done`, run, exec, s.command[9]))
	}
	return s.Stream.Write(p)
}

// TestKeepSeenTooEarly: PID 1 of helper that looks while the hour is being written reads it
// the next time.
func TestKeepSeenTooEarly(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	if _, _, err := g.run(t, Helper, "exit 0"); err != nil {
		t.Fatal(err)
	}
	wake := "echo wake 1<>/.eci/control/helper.wake; "
	// A seat that is lost is made anew in the pass that has seen the empty file. read is false
	// where a pid is not yet written to its end.
	g.outputOf(t, Helper, "true >/.eci/control/keep; cd /.eci/control; "+
		`until read -r k <helper.2.keeper && read -r s <helper.2.super && [ "$k" ] && [ "$s" ]; do `+wake+"sleep 0.05; done 2>/dev/null; "+
		"kill -9 $k $s; until [ -s helper.3.warm ]; do "+wake+"sleep 0.05; done")
	stream, err := g.open(t.Context(), Helper, []string{"sh", "-c", "echo 0 >/.eci/control/keep; " + wake})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for end := time.Now().Add(time.Minute); g.containers[Helper].Status().Running; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("helper does not end")
		}
	}
}
