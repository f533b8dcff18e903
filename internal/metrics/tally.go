package metrics

import (
	"maps"
	"slices"
	"time"
)

// tally is what was counted: by one process, or by all as the file has it.
type tally struct {
	Counters   map[string]map[string]float64 `json:"counters"` // by name and series
	Gauges     map[string]map[string]float64 `json:"gauges"`
	Histograms map[string]map[string]spread  `json:"histograms"`
	Jobs       map[string]jobState           `json:"jobs"` // attempts that are not over, by their name
}

// spread is one series of a histogram.
type spread struct {
	Counts []uint64 `json:"counts"` // values in each bucket, and at last those above all buckets
	Sum    float64  `json:"sum"`
}

// jobState is how an attempt has fared so far.
type jobState struct {
	Stage   string    `json:"stage"`
	Outcome Outcome   `json:"outcome"`
	At      time.Time `json:"at"`
}

// jobLife is after how long an attempt that nobody cleaned up is forgotten.
const jobLife = 7 * 24 * time.Hour

func newTally() tally {
	return tally{map[string]map[string]float64{}, map[string]map[string]float64{}, map[string]map[string]spread{}, map[string]jobState{}}
}

// whole makes the maps that the file did not have.
func (t *tally) whole() {
	fresh := newTally()
	if t.Counters == nil {
		t.Counters = fresh.Counters
	}
	if t.Gauges == nil {
		t.Gauges = fresh.Gauges
	}
	if t.Histograms == nil {
		t.Histograms = fresh.Histograms
	}
	if t.Jobs == nil {
		t.Jobs = fresh.Jobs
	}
}

func (t *tally) add(name, series string, n float64) {
	if t.Counters[name] == nil {
		t.Counters[name] = map[string]float64{}
	}
	t.Counters[name][series] += n
}

func (t *tally) set(name, series string, value float64) {
	if t.Gauges[name] == nil {
		t.Gauges[name] = map[string]float64{}
	}
	t.Gauges[name][series] = value
}

func (t *tally) observe(m Metric, series string, value float64) {
	s := spread{Counts: make([]uint64, len(m.Buckets)+1), Sum: value}
	bucket, _ := slices.BinarySearch(m.Buckets, value)
	s.Counts[bucket]++
	t.merge(m.Name, series, s)
}

func (t *tally) merge(name, series string, s spread) {
	if t.Histograms[name] == nil {
		t.Histograms[name] = map[string]spread{}
	}
	have := t.Histograms[name][series]
	if len(have.Counts) != len(s.Counts) { // of another version of the driver: begun anew, as a histogram may be
		t.Histograms[name][series] = spread{slices.Clone(s.Counts), s.Sum}
		return
	}
	for i, n := range s.Counts {
		have.Counts[i] += n
	}
	have.Sum += s.Sum
	t.Histograms[name][series] = have
}

// take adds what another has counted.
func (t *tally) take(other tally) {
	for name, all := range other.Counters {
		for series, n := range all {
			t.add(name, series, n)
		}
	}
	for name, all := range other.Gauges {
		for series, value := range all {
			t.set(name, series, value)
		}
	}
	for name, all := range other.Histograms {
		for series, s := range all {
			t.merge(name, series, s)
		}
	}
}

// forget drops attempts that nobody will clean up any more.
func (t *tally) forget(now time.Time) {
	maps.DeleteFunc(t.Jobs, func(_ string, j jobState) bool { return now.Sub(j.At) > jobLife })
}
