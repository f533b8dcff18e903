package stream

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

var (
	long = flag.Bool("long", false, "50,000 stages of the matrix in place of 2,000")
	seed = flag.Uint64("seed", 0, "of the plan of the matrix; 0 = drawn")
	only = flag.String("cell", "", "FAULT/SCRIPT/WORLD/SEED: this cell alone")
)

const (
	leastOfEach   = 20 // stages of each fault and of each script
	stagesOfGroup = 60
	workers       = 14
	// patience is far above what any stage takes from one piece of its log to the next: a
	// stage that is silent for so long hangs.
	patience = 2 * time.Minute
	// lastStage is how long before the end of -timeout the last one begins, so that what
	// was seen is told.
	lastStage = 30 * time.Second
)

// cell is one stage of the matrix.
type cell struct {
	fault  fault
	script script
	kind   string
	seed   uint64 // of what the fault draws
}

func (c cell) String() string {
	return fmt.Sprintf("%s/%s/%s/%d", c.fault.name, c.script.name, c.kind, c.seed)
}

// cost is about how many plain stages one of the cell stands for: a new group, or
// millions of frames.
func (c cell) cost() int {
	switch {
	case c.fault.bytewise && c.script.large:
		return 200
	case c.script.spoils:
		return 12
	}
	return 1
}

// plan is every cell once, so that each fault and script comes often, and then cells by
// chance, the cheap ones more often.
func plan(n int, r *rand.Rand) []cell {
	var cells []cell
	for _, f := range faults() {
		for _, s := range scripts() {
			cells = append(cells, cell{fault: f, script: s})
		}
	}
	for each := len(cells); len(cells) < n; {
		if c := cells[r.IntN(each)]; r.IntN(c.cost()) == 0 {
			cells = append(cells, c)
		}
	}
	for i := range cells {
		fit := slices.DeleteFunc(kinds(), func(k kind) bool { return !cells[i].fault.fits(k) })
		cells[i].kind, cells[i].seed = fit[r.IntN(len(fit))].name, r.Uint64()
	}
	r.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
	return cells
}

// parseCell reads what String writes.
func parseCell(text string) (cell, error) {
	words := strings.Split(text, "/")
	if len(words) != 4 {
		return cell{}, errors.New("a cell is FAULT/SCRIPT/WORLD/SEED")
	}
	fs, ss := faults(), scripts()
	f := slices.IndexFunc(fs, func(f fault) bool { return f.name == words[0] })
	s := slices.IndexFunc(ss, func(s script) bool { return s.name == words[1] })
	n, err := strconv.ParseUint(words[3], 10, 64)
	if f < 0 || s < 0 || err != nil {
		return cell{}, fmt.Errorf("no cell %q", text)
	}
	return cell{fs[f], ss[s], words[2], n}, nil
}

// TestMatrix takes stages through every fault and every script.
func TestMatrix(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	n := 2000
	switch {
	case *long:
		n = 50_000
	case testing.Short():
		n = 0
	}
	cells := plan(n, rand.New(rand.NewPCG(*seed, 0)))
	if *only != "" {
		c, err := parseCell(*only)
		must(t, err)
		cells = []cell{c}
	}
	t.Logf("%d stages, -seed %d", len(cells), *seed)
	tally := newTally()
	begun := time.Now()
	// One queue a kind, because a worker's groups are of one kind. Their name tells the
	// seed where the test is killed.
	t.Run(fmt.Sprintf("seed %d", *seed), func(t *testing.T) {
		for _, k := range kinds() {
			queue := make(chan cell, len(cells))
			for _, c := range cells {
				if c.kind == k.name {
					queue <- c
				}
			}
			close(queue)
			for i := range k.workers() {
				t.Run(fmt.Sprintf("%s %d", k.name, i), func(t *testing.T) {
					t.Parallel()
					work(t, k, queue, tally)
				})
			}
		}
	})
	t.Logf("took %s\n%s", time.Since(begun).Round(time.Second), tally)
	if *only == "" {
		tally.check(t)
	}
}

// work runs cells in groups of one kind.
func work(t *testing.T, k kind, queue <-chan cell, tally *tally) {
	if len(queue) == 0 {
		return
	}
	k, options := scaled(k, scale)
	w := newWorld(t, k, options, remote.DefaultSettings().Scaled(scale))
	defer w.cleanup()
	left := 0 // stages that the group is still good for
	for c := range queue {
		if end, limited := t.Deadline(); limited && time.Until(end) < lastStage {
			t.Errorf("%d stages are left at the end of -timeout", len(queue)+1)
			return
		}
		if left == 0 {
			w.prepare()
			left = stagesOfGroup
		}
		left--
		const nonce = 17 // it follows the script
		drawn := c.fault.rules(rand.New(rand.NewPCG(c.seed, 0)), len(c.script.body)+nonce)
		rules, err := ecitest.ParseRules(append(drawn, c.script.rules...)...)
		must(t, err)
		w.server.SetFaults(ecitest.Faults{Rules: rules})
		// An exec that is held was made under an earlier cell's faults.
		if k.shared && c.seed%4 > 0 && c.fault.relay == nil {
			w.loseExec()
		}
		healed := w.strike(c)
		o := w.run("build_script", c.script.body, patience)
		healed()
		verdict := judge(c, o)
		tally.add(c, o)
		if verdict != nil {
			t.Errorf("%v\nrules %q, %d execs, %s\nagain: go test ./test/stream -run TestMatrix -cell '%s'\n%s%s", verdict, rules.Strings(), o.execs, o.took, c, clip(o.driver), o.scene)
		}
		if verdict != nil || c.script.spoils {
			left = 0
		}
	}
}

// judge is the oracle: the script's own log and status, or a system failure with one of
// the script's sentences and a part of its log.
func judge(c cell, o outcome) error {
	want := []byte(c.script.want)
	if c.script.masked {
		o.log = regexp.MustCompile(`\b[0-9a-f]{16}\b`).ReplaceAll(o.log, []byte("RUN"))
	}
	for c.script.late != "" && bytes.HasSuffix(o.log, []byte(c.script.late)) {
		o.log = bytes.TrimSuffix(o.log, []byte(c.script.late))
	}
	var build *stages.BuildError
	switch {
	case errors.Is(o.err, context.DeadlineExceeded):
		return fmt.Errorf("%s: it hangs, %d bytes of log of %d", c, len(o.log), len(want))
	case o.err == nil || errors.As(o.err, &build):
		if !bytes.Equal(o.log, want) {
			return fmt.Errorf("%s: the log has %d bytes, want %d, and differs from byte %d on", c, len(o.log), len(want), differ(o.log, want))
		}
		if status := scriptStatus(o); status != c.script.status {
			return fmt.Errorf("%s: exit status %d, want %d", c, status, c.script.status)
		}
		return nil
	case o.status != 2 || o.script != -1:
		return fmt.Errorf("%s: a system failure exits with %d and leaves the script's status %d: %w", c, o.status, o.script, o.err)
	case !bytes.HasPrefix(want, o.log):
		return fmt.Errorf("%s: a system failure with a log that differs from byte %d on: %w", c, differ(o.log, want), o.err)
	}
	for _, sentence := range c.script.failures {
		if strings.Contains(o.err.Error(), sentence) {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", c, o.err)
}

// scriptStatus is the status that the runner takes for the script's, -1 where the
// driver's own contradicts it.
func scriptStatus(o outcome) int {
	switch {
	case o.status == 0 && o.script == -1:
		return 0
	case o.status == 1 && o.script > 0:
		return o.script
	}
	return -1
}

// differ is the first byte at which a and b differ.
func differ(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func clip(s string) string { return s[:min(len(s), 4000)] }

// tally counts what was run and what it cost.
type tally struct {
	mu     sync.Mutex
	counts map[string]*count
}

type count struct {
	stages, execs, failures int
	own, reopened           int // stages that share no exec, and those of them with more than one
	took                    time.Duration
}

func newTally() *tally { return &tally{counts: map[string]*count{}} }

func faultKey(f fault) string   { return "fault: " + f.name }
func scriptKey(s script) string { return "script: " + s.name }

func (y *tally) add(c cell, o outcome) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, key := range []string{faultKey(c.fault), scriptKey(c.script)} {
		if y.counts[key] == nil {
			y.counts[key] = &count{}
		}
		n := y.counts[key]
		n.stages++
		n.execs += o.execs
		n.took += o.took
		if o.status == 2 {
			n.failures++
		}
		if !c.shared() {
			n.own++
			n.reopened += min(1, o.execs/2)
		}
	}
}

func (y *tally) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tstages\treopened\texecs\tsystem failures\tms a stage")
	keys := []string{}
	for _, f := range faults() {
		keys = append(keys, faultKey(f))
	}
	for _, s := range scripts() {
		keys = append(keys, scriptKey(s))
	}
	for _, key := range keys {
		if n := y.counts[key]; n != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", key, n.stages, n.reopened, n.execs, n.failures, (n.took / time.Duration(n.stages)).Milliseconds())
		}
	}
	w.Flush()
	return b.String()
}

// check wants that each fault and script was there often enough, and that the faults
// did strike.
func (y *tally) check(t *testing.T) {
	for _, f := range faults() {
		n := y.counts[faultKey(f)]
		if n == nil || n.stages < leastOfEach {
			t.Errorf("%s: too few stages", f.name)
		} else if n.reopened < n.own*f.reopens/100 {
			t.Errorf("%s: %d of %d stages needed more than one exec, want %d %%: does it strike?", f.name, n.reopened, n.own, f.reopens)
		}
	}
	for _, s := range scripts() {
		if n := y.counts[scriptKey(s)]; n == nil || n.stages < leastOfEach {
			t.Errorf("%s: too few stages", s.name)
		}
	}
}
