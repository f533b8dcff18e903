package stages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// startups is how long groups took to start on this host, in seconds, the newest
// last: a group that needs 12 s need not be asked for 24 times.
type startups struct {
	Recent []float64 `json:"recent"`
}

const (
	keptStartups = 8
	longestWait  = time.Minute // for the first poll, whatever was learned
)

func (s store) startupsPath() string { return filepath.Join(s.dir, "startup.json") }

// learnedStartup is when the first poll can find a group running: nearly the
// shortest of the recent times, as a poll too many costs less than one too late.
// 0 where nothing is known.
func (s store) learnedStartup() time.Duration {
	var known startups
	if !loadCache(s.startupsPath(), &known) || len(known.Recent) == 0 {
		return 0
	}
	slices.Sort(known.Recent)
	early := max(0, known.Recent[(len(known.Recent)-1)/4])
	return min(time.Duration(early*float64(time.Second)), longestWait)
}

// learnStartup takes in that a group was running at a poll, and not yet at the
// one before: 0 where there was none. What the first poll found was perhaps there
// earlier, so that the next first poll comes a little earlier.
func (s store) learnStartup(notYet, took time.Duration) {
	if notYet > 0 {
		took = (notYet + took) / 2
	} else {
		took = took * 19 / 20
	}
	var known startups
	loadCache(s.startupsPath(), &known)
	known.Recent = append(known.Recent, took.Seconds())
	known.Recent = known.Recent[max(0, len(known.Recent)-keptStartups):]
	saveCache(s.startupsPath(), known)
}

// loadCache reads what was only kept to save a call: what is damaged is not there.
func loadCache(path string, into any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, into) == nil
}

// saveCache writes so that readers see the old file or the new one. A crash or a
// full disk may lose it, which costs a call.
func saveCache(path string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+strings.TrimSuffix(filepath.Base(path), ".json")+"-*") // 0600
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if closed := f.Close(); err != nil || closed != nil || os.Rename(f.Name(), path) != nil {
		os.Remove(f.Name()) //nolint:errcheck // nothing more can be done about a cache
	}
}
