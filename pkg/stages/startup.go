package stages

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// startups is how long groups took to start on this host, in seconds, the newest last.
// By it a prepare knows about when its group will run, and makes fewer calls. The time
// to a place depends on the zone's stock, the time from there on the images, so the two
// are kept apart.
type startups struct {
	Placed []float64 `json:"placed"` // from the create call to a place
	Images []imaged  `json:"images"` // those used last at the end
}

// imaged is how long groups with the same images took from their place until they ran.
type imaged struct {
	Key     string    `json:"key"`
	Started []float64 `json:"started"`
}

const (
	keptStartups = 8
	keptImages   = 64
	longestWait  = time.Minute // until the first look, whatever was learned
)

func (s store) startupsPath() string { return filepath.Join(s.dir, "startup.json") }

// imagesKey stands for the images of a request and for what a prepare waits for: all
// containers, or helper alone. Times of the one say nothing about the other.
func imagesKey(spec eci.GroupSpec, helperAlone bool) string {
	parts := []string{spec.ImageSnapshotID}
	for _, c := range spec.Containers {
		parts = append(parts, c.Image)
	}
	if helperAlone {
		parts = append(parts, "helper-alone")
	}
	return digest(strings.Join(parts, "\n"))[:16]
}

// pace begins a wait for a group with the images of key, by what was learned here of
// such groups; where there were none, by what was learned of the time to a place.
func (s store) pace(key string) *pace {
	p := &pace{key: key}
	var known startups
	if !loadCache(s.startupsPath(), &known) || len(known.Placed) == 0 {
		return p
	}
	p.host = true
	soonest := time.Duration(max(0, slices.Min(known.Placed)) * float64(time.Second))
	for _, i := range known.Images {
		if i.Key == key {
			p.toStart, p.known = shortest(i.Started), true
		}
	}
	// The shortest of a few times is a poor guess at how soon the next place may come,
	// and to be late costs more than a few early looks.
	if !p.known || len(known.Placed) == keptStartups {
		p.toPlace = soonest
	}
	return p
}

// shortest is nearly the shortest of some times in seconds (the lower quartile): to look
// too early costs a call, to look too late keeps the job waiting.
func shortest(recent []float64) time.Duration {
	sorted := slices.Sorted(slices.Values(recent))
	if len(sorted) == 0 {
		return 0
	}
	return time.Duration(max(0, sorted[(len(sorted)-1)/4]) * float64(time.Second))
}

// learn records the start of a group that did not run at notYet and ran at found.
func (s store) learn(p *pace, notYet, found time.Duration) {
	started, ok := p.took(notYet, found)
	if !ok {
		return
	}
	var known startups
	loadCache(s.startupsPath(), &known)
	if !p.late {
		known.Placed = recent(known.Placed, p.place)
	}
	of := imaged{Key: p.key}
	known.Images = slices.DeleteFunc(known.Images, func(i imaged) bool {
		if i.Key == p.key {
			of = i
		}
		return i.Key == p.key
	})
	of.Started = recent(of.Started, started)
	known.Images = append(known.Images, of)
	known.Images = known.Images[max(0, len(known.Images)-keptImages):]
	saveCache(s.startupsPath(), known)
}

func recent(list []float64, d time.Duration) []float64 {
	list = append(list, d.Seconds())
	return list[max(0, len(list)-keptStartups):]
}
