package stages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/wholefile"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// startups is how long groups took to start on this host, in seconds, the newest last:
// a group that needs 12 s need not be asked for 24 times. How long one waits for a
// place depends on the zone's stock, and what follows on its images.
type startups struct {
	Placed []float64 `json:"placed"` // from the create call to a place
	Images []imaged  `json:"images"` // the one that was used last at the end
}

// imaged is how long groups with the same images took from their place on.
type imaged struct {
	Key     string    `json:"key"`
	Started []float64 `json:"started"`
}

const (
	keptStartups = 8
	keptImages   = 64
	longestWait  = time.Minute // for the first look, whatever was learned
)

func (s store) startupsPath() string { return filepath.Join(s.dir, "startup.json") }

// imagesKey names the images of a request, and until what a prepare waits.
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

// pace is what was learned for groups with these images; where there are none, of the
// times to a place alone.
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
			p.started, p.known = shortest(i.Started), true
		}
	}
	// Of few times the shortest does not tell how soon the next place may come, and a
	// look that comes too late costs more than some that come too early.
	if !p.known || len(known.Placed) == keptStartups {
		p.placed = soonest
	}
	return p
}

// shortest is nearly the shortest of some times in seconds, as a look too many costs
// less than one too late.
func shortest(recent []float64) time.Duration {
	sorted := slices.Sorted(slices.Values(recent))
	if len(sorted) == 0 {
		return 0
	}
	return time.Duration(max(0, sorted[(len(sorted)-1)/4]) * float64(time.Second))
}

// learn takes in that a group was found at a look to have started, and not yet at the
// one before.
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

// younger tells whether something is from less than a while ago. What is from later
// than now is from under another clock, and of no known age.
func younger(now, then time.Time, life time.Duration) bool {
	age := now.Sub(then)
	return age >= 0 && age < life
}

// loadCache reads what was only kept to save a call: what is damaged is not there.
func loadCache(path string, into any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, into) == nil
}

// saveCache keeps what may be lost: a crash or a full disk then cost a call.
func saveCache(path string, value any) {
	if data, err := json.Marshal(value); err == nil {
		wholefile.Write(path, data, 0o600) //nolint:errcheck // nothing more can be done about a cache
	}
}
