package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how a check came out, from good to bad.
type Status int

// The statuses; a skipped check is neither good nor bad.
const (
	OK Status = iota
	Skipped
	Warning
	Failed
)

func (s Status) String() string {
	return [...]string{"ok", "skipped", "warning", "failed"}[s]
}

// MarshalText is the word, for JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Line is one line of a report.
type Line struct {
	Check   string `json:"check"`             // name of the check
	Subject string `json:"subject,omitempty"` // what of several the line is about
	Status  Status `json:"status"`
	Text    string `json:"text"`             // what was found
	Advice  string `json:"advice,omitempty"` // what to do, where it is not ok

	Value   string  `json:"value,omitempty"`   // of the switch that Subject names, for an assumption
	Seconds float64 `json:"seconds,omitempty"` // that a phase of the live job took
}

// Check is one thing that is looked at.
type Check struct {
	Name  string
	What  string        // it looks at, for docs/check.md
	Needs []string      // checks that must not have failed
	After []string      // checks that only have to be over
	Limit time.Duration // of all of it
	look  func(ctx context.Context, w *world) []Line
}

// Report is what the checks have found, in their order.
type Report struct {
	Worst Status `json:"worst"`
	Lines []Line `json:"lines"`
}

// add takes lines of a check in.
func (r *Report) add(lines ...Line) {
	for _, l := range lines {
		r.Lines = append(r.Lines, l)
		r.Worst = max(r.Worst, l.Status)
	}
}

// ExitStatus is 2 where a check has failed, 1 where one has warned, else 0.
func (r *Report) ExitStatus() int {
	return map[Status]int{Failed: 2, Warning: 1}[r.Worst]
}

// running is a check on its way.
type running struct {
	Check
	done  chan struct{} // closed when lines is whole
	lines []Line
}

// missing tells whether the check failed or was skipped, so that none can build on it.
func (r *running) missing() bool {
	return slices.ContainsFunc(r.lines, func(l Line) bool { return l.Status == Failed || l.Status == Skipped })
}

// Run makes all checks at once and tells each line, in the order of List, as soon as
// those before it are known. With o.Live it then runs a job, if no check says that none
// can run. When ctx ends, Run returns once nothing of that job is left.
func Run(ctx context.Context, o Options, tell func(Line)) *Report {
	o.setDefaults()
	w := &world{Options: o}
	all := map[string]*running{}
	var order []*running
	for _, c := range List() {
		r := &running{Check: c, done: make(chan struct{})}
		all[c.Name], order = r, append(order, r)
	}
	for _, r := range order {
		go func() {
			defer close(r.done)
			r.lines = r.make(ctx, w, all)
			for i := range r.lines {
				r.lines[i].Check = r.Name
			}
		}()
	}
	report := &Report{}
	for _, r := range order {
		<-r.done
		report.add(r.lines...)
		for _, l := range r.lines {
			tell(l)
		}
	}
	if o.Live {
		w.live(ctx, all, func(l Line) {
			report.add(l)
			tell(l)
		})
	}
	return report
}

// make waits for what the check builds on, then looks.
func (r *running) make(ctx context.Context, w *world, all map[string]*running) []Line {
	for _, name := range r.After {
		<-all[name].done
	}
	var missing []string
	for _, name := range r.Needs {
		if <-all[name].done; all[name].missing() {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return []Line{skipped("needs %s", strings.Join(missing, ", "))}
	}
	limit := cmp.Or(w.Limit, r.Limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	lines := r.look(ctx, w)
	if len(lines) == 0 {
		return []Line{ok("none")}
	}
	return lines
}

func ok(format string, args ...any) Line { return Line{Status: OK, Text: fmt.Sprintf(format, args...)} }

func skipped(format string, args ...any) Line {
	return Line{Status: Skipped, Text: fmt.Sprintf(format, args...)}
}

func warning(advice, format string, args ...any) Line {
	return Line{Status: Warning, Text: fmt.Sprintf(format, args...), Advice: advice}
}

func failed(advice, format string, args ...any) Line {
	return Line{Status: Failed, Text: fmt.Sprintf(format, args...), Advice: advice}
}

// of is the line with the one of several things that it is about.
func (l Line) of(subject string) Line {
	l.Subject = subject
	return l
}

// each makes a line of each value, all at once.
func each[T any](values []T, look func(T) Line) []Line {
	lines := make([]Line, len(values))
	var all sync.WaitGroup
	for i, v := range values {
		all.Go(func() { lines[i] = look(v) })
	}
	all.Wait()
	return lines
}
