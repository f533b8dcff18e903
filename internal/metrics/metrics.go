// Package metrics counts what the driver does, over all its processes on a host,
// for the textfile collector of a node exporter.
//
// A process counts in memory and adds what it has counted once, at its end, to a file
// in state_dir, from which it writes the textfile anew. Both are replaced whole, under a
// lock, so that many processes may end at once; one that is killed loses no more than
// its own increments. Nothing here waits for a disk, or fails a job.
package metrics

import (
	"strings"
	"sync"
	"time"
)

// Outcome is how a stage or a job ended.
type Outcome string

// The outcomes. A job whose time is over counts as cancelled: the runner ends it alike.
const (
	Success       Outcome = "success"
	BuildFailure  Outcome = "build_failure"
	SystemFailure Outcome = "system_failure"
	Cancelled     Outcome = "cancelled"
)

// Outcomes are all outcomes.
func Outcomes() []Outcome { return []Outcome{Success, BuildFailure, SystemFailure, Cancelled} }

// Recorder counts for one process. A nil one counts nothing. It may be used by several
// goroutines at once.
type Recorder struct {
	mu      sync.Mutex
	catalog map[string]Metric
	counted tally
	jobs    []func(*tally) // changes of the file's jobs, made when Flush has read it
}

// New makes a recorder that has counted nothing.
func New() *Recorder {
	r := &Recorder{catalog: map[string]Metric{}, counted: newTally()}
	for _, m := range Catalog() {
		r.catalog[m.Name] = m
	}
	return r
}

// Add adds n to a counter, for the values of its labels in their order.
func (r *Recorder) Add(name string, n float64, labels ...string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.add(name, series(labels), n)
}

// Set sets a gauge.
func (r *Recorder) Set(name string, value float64, labels ...string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.set(name, series(labels), value)
}

// Observe puts a time into its bucket of a histogram of seconds.
func (r *Recorder) Observe(name string, d time.Duration, labels ...string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.observe(r.catalog[name], series(labels), d.Seconds())
}

// Stage notes how a stage of an attempt ended, by which the attempt is counted when it
// is over. A stage that fails and then succeeds, as get_sources may, has succeeded.
func (r *Recorder) Stage(attempt, stage string, o Outcome, at time.Time) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = append(r.jobs, func(t *tally) {
		j, known := t.Jobs[attempt]
		if !known || j.Stage == stage || j.Outcome == Success && o != Success {
			j.Stage, j.Outcome = stage, o
		}
		j.At = at
		t.Jobs[attempt] = j
	})
}

// Over counts an attempt, once, by what was noted of its stages.
func (r *Recorder) Over(attempt string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = append(r.jobs, func(t *tally) {
		if j, ok := t.Jobs[attempt]; ok {
			t.add(Jobs, series([]string{string(j.Outcome)}), 1)
			delete(t.Jobs, attempt)
		}
	})
}

// series is the key of a series: the values of its labels.
func series(labels []string) string { return strings.Join(labels, "\x1f") }
