package stages

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// start is a group that gets its place and runs at times after its create call.
type start struct{ placed, runs time.Duration }

// seen is what a look at a time shows of it, by a clock that tells whole seconds and
// whose first one begins at phase.
func (g start) seen(at, phase time.Duration) *eci.Group {
	clock := func(d time.Duration) time.Time {
		return time.Unix(1_800_000_000, 0).Add(d + phase).Truncate(time.Second)
	}
	seen := &eci.Group{Status: "Scheduling", CreationTime: clock(0)}
	if at >= g.placed {
		seen.Status = "Pending"
		seen.Events = []eci.Event{{Reason: "Scheduled", First: clock(g.placed)}}
	}
	if at >= g.runs {
		seen.Status = "Running"
		seen.Containers = []eci.ContainerStatus{{State: "Running", StartTime: clock(g.runs)}}
	}
	return seen
}

// await looks at a group until it runs, and tells how late that was and how many looks
// it took.
func (g start) await(s store, phase time.Duration) (late time.Duration, looks int) {
	p := s.pace("images")
	var now, notYet time.Duration
	for {
		now += p.pause(now)
		p.looked(now, g.seen(now, phase))
		if now >= g.runs {
			s.learn(p, notYet, now)
			return now - g.runs, p.looks
		}
		notYet = now
	}
}

// TestPace: whatever a host's groups take, they are found soon, and by few looks.
func TestPace(t *testing.T) {
	const jobs, learnt = 200, 1
	seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	tests := []struct {
		name      string
		draw      func(r *rand.Rand) (placed, rest float64) // seconds
		half, p95 time.Duration                             // how late
		most      int                                       // looks of one
	}{
		{"3 to 30 s for a place, 8 s of pulls", func(r *rand.Rand) (float64, float64) { return 3 + 27*r.Float64(), 8 + 0.3*r.Float64() }, seconds(0.4), seconds(1), 15},
		{"3 to 30 s for a place, 4 s of pulls", func(r *rand.Rand) (float64, float64) { return 3 + 27*r.Float64(), 4 + 0.3*r.Float64() }, seconds(0.4), seconds(1), 15},
		{"3 to 30 s for a place, 1 minute of pulls", func(r *rand.Rand) (float64, float64) { return 3 + 27*r.Float64(), 60 + 0.3*r.Float64() }, seconds(0.4), seconds(1), 15},
		{"a local ECI", func(r *rand.Rand) (float64, float64) { return 0.01, 0.05 + 0.2*r.Float64() }, seconds(0.4), seconds(0.6), 4},
		{"always the same", func(*rand.Rand) (float64, float64) { return 5, 7 }, seconds(0.4), seconds(0.6), 15},
		{"a place at once, and pulls of 3 to 6 s", func(r *rand.Rand) (float64, float64) { return 0.1, 3 + 3*r.Float64() }, seconds(0.4), seconds(1), 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, r := store{t.TempDir()}, rand.New(rand.NewPCG(1, 2))
			var late []time.Duration
			most, first := 0, 0
			for job := range jobs {
				placed, rest := tt.draw(r)
				g := start{seconds(placed), seconds(placed + rest)}
				l, looks := g.await(s, seconds(r.Float64()))
				if job == 0 {
					first = looks
				}
				if job >= learnt {
					late, most = append(late, l), max(most, looks)
				}
			}
			slices.Sort(late)
			half, p95 := late[len(late)/2], late[len(late)*95/100]
			t.Logf("late by %s, p95 %s; at most %d looks, %d at the first", half.Round(time.Millisecond), p95.Round(time.Millisecond), most, first)
			if half > tt.half || p95 > tt.p95 {
				t.Errorf("late by %s, p95 %s, want at most %s and %s", half, p95, tt.half, tt.p95)
			}
			if most > tt.most || first > 20 {
				t.Errorf("%d looks at one group, %d at the first, want at most %d and 20", most, first, tt.most)
			}
		})
	}
}

// TestPaceWithoutEvents: where ECI tells no times, looks alone do.
func TestPaceWithoutEvents(t *testing.T) {
	p := &pace{known: true, placed: 3 * time.Second, started: 8 * time.Second}
	for at := range 4 {
		p.looked(time.Duration(at)*time.Second, &eci.Group{Status: "Scheduling"})
	}
	p.looked(4*time.Second, &eci.Group{Status: "Pending"})
	if got, want := p.pause(4*time.Second), 7*time.Second-duePause; got != want {
		t.Errorf("after the place the next look is in %s, want %s", got, want)
	}
	if took, ok := p.took(10*time.Second, 12*time.Second); took != 8*time.Second || !ok {
		t.Errorf("it took %s (%v), want 8s", took, ok)
	}
}

// TestPaceOfOtherImages: what is not known of the images is taken from those before.
func TestPaceOfOtherImages(t *testing.T) {
	s := store{t.TempDir()}
	learn := func(key string, place, started time.Duration) {
		p := s.pace(key)
		p.place = place
		s.learn(p, place+started, place+started)
	}
	learn("a", time.Second, 5*time.Second)
	learn("b", 2*time.Second, 9*time.Second)
	if p := s.pace("a"); p.placed != 0 {
		t.Errorf("two groups tell that a place takes %s", p.placed)
	}
	learn("a", 2*time.Second, 5*time.Second)
	learn("b", 2*time.Second, 9*time.Second)
	for key, want := range map[string]time.Duration{"a": 5 * time.Second, "b": 9 * time.Second, "c": 9 * time.Second} {
		if p := s.pace(key); p.started != want || p.placed != time.Second {
			t.Errorf("%s: %s to a place and %s from there on, want 1s and %s", key, p.placed, p.started, want)
		}
	}
	for range keptImages + 1 {
		learn(randomHex(8), 3*time.Second, 3*time.Second)
	}
	if p := s.pace("a"); p.started != 3*time.Second || p.placed != 3*time.Second {
		t.Errorf("images of long ago are still known: %s to a place, %s from there on", p.placed, p.started)
	}
	first := s.pace("never")
	first.placed, first.started = time.Hour, time.Hour
	if got := first.pause(0); got != longestWait {
		t.Errorf("the first look comes after %s, want %s", got, longestWait)
	}
}
