package stream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// began is a log that tells when its first line has come.
type began struct {
	bytes.Buffer
	line chan struct{}
}

func (b *began) Write(p []byte) (int, error) {
	if n := strings.Count(b.String(), "\n"); n == 0 && bytes.Contains(p, []byte("\n")) {
		defer close(b.line)
	}
	return b.Buffer.Write(p)
}

// soon is after how long a stage has ended whose group or build is dead.
const soon = 5 * time.Second

// lifetime is a group's, of which ECI ends it; it is running and has printed by then.
const lifetime = 25 * time.Second

// death is one way in which a script comes to its end from outside.
type death struct {
	name     string
	switches ecitest.Switches
	adjust   func(w *world)                     // before the group is made
	script   string                             // after its first line; "" = it waits
	strike   func(w *world, group string) error // once that line has come
	log      string                             // all of it; "" = its first line
	after    time.Duration                      // the group was created, where that ends it
	cause    string                             // a regular expression
}

func deaths() []death {
	return []death{
		{name: "build is killed", cause: `the build container .*exit code 137`,
			strike: func(w *world, id string) error { return w.server.KillContainer(id, "build") }},
		// No FIFO tells helper; what does is that build answers its ping no more.
		{name: "build is killed, FIFOs apart", switches: ecitest.Switches{FIFOsApart: true}, cause: `the build container .*exit code 137`,
			strike: func(w *world, id string) error { return w.server.KillContainer(id, "build") }},
		killsFirst(),
		{name: "build is killed for memory", cause: `the build container .* OOMKilled`,
			strike: func(w *world, id string) error { return w.server.StarveContainer(id, "build") }},
		{name: "a child is killed for memory", script: needsLimit + "{ tail /dev/zero; } 2>/dev/null; exit $?", cause: "ECI_MEMORY",
			adjust: func(w *world) { w.config.Group.Request = config.Params{"Container.2.Memory": "0.03125"} }},
		{name: "the spot instance is reclaimed", cause: "reclaimed",
			strike: func(w *world, id string) error { return w.server.ReclaimGroup(id, 0) }},
		{name: "deleted from outside", cause: goneGroup,
			strike: func(w *world, id string) error { return w.server.DeleteGroup(id) }},
		{name: "deleted from outside and listed no more", switches: ecitest.Switches{DeleteKillsAtOnce: true}, cause: goneGroup,
			strike: func(w *world, id string) error { return w.server.DeleteGroup(id) }},
		{name: "the deadline", after: lifetime, cause: `container group \S+ has ended: it has lived for 25s, its deadline`, adjust: func(w *world) {
			response := strings.Replace(jobResponse, `"timeout": 3600`, `"timeout": 1`, 1)
			must(w.t, os.WriteFile(w.env.JobResponseFile, []byte(response), 0o600))
			w.config.Timeouts.DeadlineExtra = lifetime - time.Second
		}},
	}
}

// goneGroup is what may be seen first of a group that somebody deletes.
const goneGroup = `: container group \S+ (has ended|does not exist any more)`

// findsCat has a script know the process that carries its output: it may be so early that
// this has not written its pid yet.
const findsCat = "read -r seat _ </.eci/control/build.seat; until read -r cat </.eci/control/build.$seat.cat && [ $cat ]; do :; done; "

// killsFirst: what the script printed is in the pipe yet, as what reads it was not given
// the time to.
func killsFirst() death {
	return death{name: "build's first process exits", script: findsCat + "kill -s STOP $cat; seq 9999; kill 1",
		log: "begun\n" + numbered(9999), cause: `the build container .*exit code 143`}
}

// TestLastWords is that death by the other shells; TestDeath has it by the host's.
func TestLastWords(t *testing.T) {
	t.Parallel()
	for _, k := range kinds()[1:3] {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			killsFirst().endsSoon(t, k)
		})
	}
}

// needsLimit ends a script that meets no limit of memory.
const needsLimit = `for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
	test "$(cat $f 2>/dev/null)" = 33554432 && limited=yes
done; test "$limited" || exit 55; `

// TestDeath: at the driver's own times, the death of a container or of the group, and of
// a script for want of memory, ends the stage soon, with its cause and all that was
// logged, by either transport.
func TestDeath(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{{name: "websocket"}, {name: "sync", transport: "sync"}} {
		for _, tt := range deaths() {
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				k := k // the others of its transport have switches of their own
				k.switches = tt.switches
				tt.endsSoon(t, k)
			})
		}
	}
}

// endsSoon wants the stage to end soon after its death. A machine that is busy gets
// another try.
func (d death) endsSoon(t *testing.T, k kind) {
	t.Helper()
	for try := range 3 {
		if took := d.end(t, k); took < soon {
			return
		} else if try == 2 {
			t.Errorf("it ended after %s, want less than %s", took, soon)
		}
	}
}

// end takes a script to that death, and tells how long it took from there to the stage's
// end.
func (d death) end(t *testing.T, k kind) time.Duration {
	w := newWorld(t, k, eci.Options{}, remote.DefaultSettings())
	if d.adjust != nil {
		d.adjust(w)
	}
	w.prepare()
	defer w.cleanup()
	groups := w.server.Groups()
	died := groups[len(groups)-1].Created.Add(d.after)
	script := filepath.Join(w.dir, "script")
	must(t, os.WriteFile(script, []byte("echo begun; "+d.script+"\nsleep 300"), 0o700))
	out := &began{line: make(chan struct{})}
	stage := w.stage(out)
	ended := make(chan error, 1)
	go func() { ended <- stage.Run(context.Background(), script, "build_script") }()
	select {
	case <-out.line:
	case err := <-ended:
		if out.Len() == 0 {
			t.Fatalf("it ended before it began: %v", err)
		}
		ended <- err
	}
	if d.after == 0 {
		died = time.Now()
	}
	if d.strike != nil {
		must(t, d.strike(w, w.server.Live()[0]))
	}
	err := <-ended
	took := time.Since(died)
	t.Logf("after %s: %v", took.Round(time.Millisecond), err)
	if took < 0 {
		t.Errorf("it ended %s before its time", -took)
	}
	if err != nil && strings.Contains(err.Error(), "status 55") {
		needsMemoryCgroup(t)
	}
	if err == nil || !regexp.MustCompile(d.cause).MatchString(err.Error()) {
		t.Errorf("error %v, want %q", err, d.cause)
	}
	if want := cmp.Or(d.log, "begun\n"); out.String() != want {
		t.Errorf("log of %d bytes, want %d: it ends with %.60q", out.Len(), len(want), out.String()[max(0, out.Len()-60):])
	}
	return took
}

// needsMemoryCgroup skips a test where containers have no limit; CI has one.
func needsMemoryCgroup(t *testing.T) {
	t.Helper()
	testneed.Need(t, errors.New("the memory cgroup is not writable"))
}
