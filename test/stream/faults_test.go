package stream

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"
)

// fault is a way in which the world between the script and its log fails.
type fault struct {
	name string
	// rules are as sim --fault takes them; upload is how many bytes stdin gets.
	rules func(r *rand.Rand, upload int) []string
	// reopens is how many percent of its stages need more than one exec, at the least:
	// a fault that never strikes shows nothing.
	reopens int
	// bytewise: it is slow for large logs, so that few of those are drawn.
	bytewise bool
	// calls: it is of the call that makes an exec, not of its connection.
	calls bool
	// polls: it is of the many calls that a stage makes without a connection.
	polls bool
	// relay is what happens to the process that keeps a shared connection.
	relay *accident
}

// fits tells whether the fault can strike in a world of the kind.
func (f fault) fits(k kind) bool {
	if f.relay != nil {
		return k.shared
	}
	if k.bySync() {
		return f.calls || f.polls
	}
	return !f.polls
}

// until gives most 1 to 4, how often a fault strikes before it lets the stage go on.
func until(r *rand.Rand) int { return 1 + r.IntN(4) }

// draw draws a value of a rule.
type draw func(r *rand.Rand, upload int) any

func one(format string, args ...draw) func(r *rand.Rand, upload int) []string {
	return func(r *rand.Rand, upload int) []string {
		values := make([]any, len(args))
		for i, f := range args {
			values[i] = f(r, upload)
		}
		return []string{fmt.Sprintf(format, values...)}
	}
}

// all are rules that draw nothing.
func all(rules ...string) func(*rand.Rand, int) []string {
	return func(*rand.Rand, int) []string { return rules }
}

func times(r *rand.Rand, _ int) any { return until(r) }

// within draws how many bytes of the upload arrive, not all of them.
func within(r *rand.Rand, upload int) any { return r.IntN(upload) }

// below draws a number from 0 on; half of them are small, as stages' beginnings and
// short stages are where most records are.
func below(n int) draw {
	return func(r *rand.Rand, _ int) any {
		if r.IntN(2) == 0 {
			return r.IntN(300)
		}
		return r.IntN(n)
	}
}

func between(least, most int) draw {
	return func(r *rand.Rand, _ int) any { return least + r.IntN(most-least+1) }
}

// boundary aims at where a record, its payload or its trailer begins or ends, and at
// the neighbours of that byte: a header's end is a few digits behind its word.
func boundary(r *rand.Rand, _ int) []string {
	marks := []string{"#hello ", "\n#up", "#up ", "\n#data ", "#data ", "\n#ok ", "#ok ", "\n#end ", "#end ", " none ", "\n#beat"}
	const digits = 6
	mark := marks[r.IntN(len(marks))]
	from := "drop-from=" + strconv.Quote(mark)
	if n := r.IntN(3); n > 0 {
		from += fmt.Sprintf(",drop-from-skip=%d", n)
	}
	return []string{fmt.Sprintf("exec:drop=%d,%s,times=%d", r.IntN(len(mark)+digits), from, until(r))}
}

// always is what reopens is of a fault that strikes every stage, but for a few that may
// have ended before.
const always = 90

func faults() []fault {
	const call = "ExecContainerCommand:"
	return []fault{
		{name: "none", rules: func(*rand.Rand, int) []string { return nil }, calls: true},
		{name: "dropped before the first byte", rules: one("exec:drop=0,times=%d", times), reopens: always},
		{name: "dropped after the first byte", rules: one("exec:drop=1,times=%d", times), reopens: always},
		{name: "dropped at a record boundary", rules: boundary, reopens: 25},
		{name: "dropped after n bytes", rules: one("exec:drop=%d,times=%d", below(3_000_000), times), reopens: 15},
		{name: "dropped every 200 ms", rules: all("exec:drop-every=200ms,times=40")},
		{name: "dropped soon, often", rules: one("exec:drop-every=%dms,times=8", between(1, 60)), reopens: 50},
		{name: "handshake refused", rules: one("exec:refuse,times=%d", times), reopens: always},
		{name: "call answered 500", rules: one(call+"error=500,times=%d", times), reopens: always, calls: true},
		{name: "call answered 503", rules: one(call+"error=503,times=%d", times), reopens: always, calls: true},
		{name: "call throttled", rules: one(call+"error=Throttling.User,times=%d", times), reopens: always, calls: true},
		{name: "call cut after its effect", rules: one(call+"cut=after,times=%d", times), reopens: always, calls: true},
		{name: "call cut before its effect", rules: one(call+"cut=before,skip=%d,times=%d", between(1, 3), times), polls: true},
		{name: "call's answer truncated", rules: one(call+"truncate=%d,times=%d", between(0, 60), times), reopens: always, calls: true},
		{name: "a later call's answer truncated", rules: one(call+"truncate=%d,skip=%d,times=%d", below(50_000), between(1, 5), times), polls: true},
		{name: "calls at random", rules: all(call+"cut=after,probability=0.2", call+"error=503,probability=0.2", call+"truncate=200,probability=0.2"), polls: true},
		{name: "single bytes", rules: one("exec:split=1"), bytewise: true},
		{name: "small frames", rules: one("exec:split=%d,empty-frames", between(2, 4000))},
		{name: "merged frames", rules: one("exec:merge")},
		{name: "empty frames", rules: one("exec:empty-frames")},
		{name: "text frames", rules: one("exec:text")},
		{name: "unprefixed frames", rules: one("exec:unprefixed")},
		{name: "every odd frame", rules: one("exec:unprefixed,text,empty-frames,split=%d", between(50, 5000))},
		{name: "final frames swallowed", rules: one("exec:swallow=%d,times=%d", between(1, 400), times), reopens: always},
		{name: "half-open", rules: one("exec:half-open=%d,times=%d", below(100_000), times), reopens: 10},
		{name: "half-open at once", rules: one("exec:half-open=%d,times=%d", between(0, 40), times), reopens: always},
		{name: "closed when idle", rules: one("exec:idle=%dms,times=40", between(40, 140)), reopens: 10},
		{name: "started at the call", rules: one("exec:start=call")},
		{name: "started at the call, cut", rules: one("exec:start=call,drop=%d,times=%d", below(2000), times), reopens: 15},
		{name: "started at the connect", rules: one("exec:start=connect")},
		{name: "stdin swallowed", rules: one("exec:stdin-stop=%d,times=%d", within, times), reopens: always},
		{name: "a byte of stdin lost", rules: one("exec:stdin-lose=%d,times=%d", within, times), reopens: always},
		{name: "cut in mid-upload", rules: one("exec:stdin-cut=%d,times=%d", within, times), reopens: always},
		{name: "address used late", rules: one("exec:expired,times=%d", times), reopens: always},
		{name: "address used late, started", rules: one("exec:expired,start=call,times=%d", times), reopens: always},
		{name: "address unreachable", rules: one("exec:unreachable,times=%d", times), reopens: always},
		{name: "relay killed before", rules: all(), relay: &accident{signal: syscall.SIGKILL}},
		{name: "relay killed", rules: all(), relay: &accident{signal: syscall.SIGKILL, within: 100 * time.Millisecond}},
		{name: "relay stopped before", rules: all(), relay: &accident{signal: syscall.SIGSTOP}},
		{name: "relay stopped", rules: all(), relay: &accident{signal: syscall.SIGSTOP, within: 100 * time.Millisecond}},
		{name: "relay stopped for a while", rules: all(), relay: &accident{signal: syscall.SIGSTOP, within: 100 * time.Millisecond, goesOn: 300 * time.Millisecond}},
	}
}
