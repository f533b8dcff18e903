package stages

import (
	"fmt"
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

// cloudCall is what a call of the API takes, half of it before what it shows.
const cloudCall = 120 * time.Millisecond

// await looks at a group by calls until it runs, and tells how late that was and how
// many looks it took.
func (g start) await(s store, images string, phase, call time.Duration) (late time.Duration, looks int) {
	p := s.pace(images)
	var now, notYet time.Duration
	for {
		now += p.pause(p.last)
		p.looked(now, g.seen(now+call/2, phase))
		if now+call/2 >= g.runs {
			s.learn(p, notYet, now)
			return now + call - g.runs, p.looks
		}
		notYet, now = now, now+call
	}
}

func inSeconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// found is by how much groups were found late.
type found struct{ late []time.Duration }

// quantile is the q-th of them.
func (f found) quantile(q float64) time.Duration {
	slices.Sort(f.late)
	return f.late[int(q*float64(len(f.late)))]
}

// cloudPlace draws how long a group waits for its place.
func cloudPlace(r *rand.Rand) float64 { return 3 + 27*r.Float64() }

// TestPace: whatever a host's groups take, they are found soon, and by few looks.
func TestPace(t *testing.T) {
	const jobs = 200
	tests := []struct {
		name      string
		draw      func(r *rand.Rand) (placed, rest float64) // seconds
		call      time.Duration
		half, p95 time.Duration // how late
		most      int           // looks of one
	}{
		{"3 to 30 s for a place, 8 s of pulls", func(r *rand.Rand) (float64, float64) { return cloudPlace(r), 8 + 0.3*r.Float64() }, cloudCall, inSeconds(0.3), inSeconds(0.5), 15},
		{"3 to 30 s for a place, 4 s of pulls", func(r *rand.Rand) (float64, float64) { return cloudPlace(r), 4 + 0.3*r.Float64() }, cloudCall, inSeconds(0.3), inSeconds(0.5), 15},
		{"3 to 30 s for a place, 1 minute of pulls", func(r *rand.Rand) (float64, float64) { return cloudPlace(r), 60 + 0.3*r.Float64() }, cloudCall, inSeconds(0.3), inSeconds(0.5), 15},
		{"a local ECI", func(r *rand.Rand) (float64, float64) { return 0.01, 0.05 + 0.2*r.Float64() }, 0, inSeconds(0.2), inSeconds(0.3), 4},
		{"always the same", func(*rand.Rand) (float64, float64) { return 5, 7 }, cloudCall, inSeconds(0.4), inSeconds(0.6), 15},
		{"a place at once, and pulls of 3 to 6 s", func(r *rand.Rand) (float64, float64) { return 0.1, 3 + 3*r.Float64() }, cloudCall, inSeconds(0.4), inSeconds(1), 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, r := store{t.TempDir()}, rand.New(rand.NewPCG(1, 2))
			var found found
			most, first := 0, 0
			for job := range jobs {
				placed, rest := tt.draw(r)
				l, looks := start{inSeconds(placed), inSeconds(placed + rest)}.await(s, "images", inSeconds(r.Float64()), tt.call)
				if job == 0 {
					first = looks
					continue
				}
				found.late, most = append(found.late, l), max(most, looks)
			}
			half, p95 := found.quantile(0.5), found.quantile(0.95)
			t.Logf("late by %s, p95 %s; at most %d looks, %d at the first", half.Round(time.Millisecond), p95.Round(time.Millisecond), most, first)
			if half > tt.half || p95 > tt.p95 {
				t.Errorf("late by %s, p95 %s, want at most %s and %s", half, p95, tt.half, tt.p95)
			}
			if most > tt.most {
				t.Errorf("%d looks at one group, want at most %d", most, tt.most)
			}
		})
	}
}

// TestPaceOfFirstGroups: also what is the first of its host, or has images that are new
// there, is found soon and by few looks. Where images are there, nothing but a look
// tells that it runs, and between those lie seconds as long as it has no place.
func TestPaceOfFirstGroups(t *testing.T) {
	tests := []struct {
		name  string
		pulls func(r *rand.Rand) float64 // seconds
		known bool                       // the host knows other images
		p95   time.Duration              // how late
		most  int
	}{
		{"a host's first group, 8 s of pulls", func(r *rand.Rand) float64 { return 8 + 0.3*r.Float64() }, false, inSeconds(1), 15},
		{"a host's first group, 4 s of pulls", func(r *rand.Rand) float64 { return 4 + 0.3*r.Float64() }, false, inSeconds(1.8), 15},
		{"a host's first group, no pulls", func(r *rand.Rand) float64 { return 1 }, false, inSeconds(5), 15},
		{"a host's first group, a minute of pulls", func(r *rand.Rand) float64 { return 60 + 5*r.Float64() }, false, inSeconds(12), 21},
		{"new images, 8 s of pulls", func(r *rand.Rand) float64 { return 8 + 0.3*r.Float64() }, true, inSeconds(1), 15},
		{"new images, 4 s of pulls", func(r *rand.Rand) float64 { return 4 + 0.3*r.Float64() }, true, inSeconds(1), 15},
		{"new images, no pulls", func(r *rand.Rand) float64 { return 1 }, true, inSeconds(4.5), 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const groups = 200
			s, r := store{t.TempDir()}, rand.New(rand.NewPCG(1, 2))
			var found found
			most := 0
			for i := range groups {
				if !tt.known {
					s = store{t.TempDir()}
				}
				placed := cloudPlace(r)
				l, looks := start{inSeconds(placed), inSeconds(placed + tt.pulls(r))}.await(s, fmt.Sprint(i), inSeconds(r.Float64()), cloudCall)
				if i >= keptStartups {
					found.late, most = append(found.late, l), max(most, looks)
				}
			}
			p95 := found.quantile(0.95)
			t.Logf("late by %s, p95 %s; at most %d looks", found.quantile(0.5).Round(time.Millisecond), p95.Round(time.Millisecond), most)
			if p95 > tt.p95 {
				t.Errorf("late by %s (p95), want at most %s", p95, tt.p95)
			}
			if most > tt.most {
				t.Errorf("%d looks at one group, want at most %d", most, tt.most)
			}
		})
	}
}

// TestPaceWithoutEvents: where ECI tells no times, looks alone do.
func TestPaceWithoutEvents(t *testing.T) {
	p := &pace{known: true, toPlace: 3 * time.Second, toStart: 8 * time.Second}
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

// TestPaceOfOtherImages: what is not known of the images is not guessed, but how soon a
// place may come is known of all groups of the host.
func TestPaceOfOtherImages(t *testing.T) {
	s := store{t.TempDir()}
	learn := func(key string, place, started time.Duration) {
		p := s.pace(key)
		p.place = place
		s.learn(p, place+started, place+started)
	}
	learn("a", time.Second, 5*time.Second)
	learn("b", 2*time.Second, 9*time.Second)
	want := func(key string, placed, started time.Duration) {
		t.Helper()
		if p := s.pace(key); p.toStart != started || p.toPlace != placed || p.known != (started > 0) {
			t.Errorf("%s: %s to a place and %s from there on, want %s and %s", key, p.toPlace, p.toStart, placed, started)
		}
	}
	want("a", 0, 5*time.Second) // few groups don't tell how soon a place may come
	want("c", time.Second, 0)   // but a first look costs little
	for range keptStartups - 2 {
		learn("a", 2*time.Second, 5*time.Second)
	}
	want("a", time.Second, 5*time.Second)
	want("b", time.Second, 9*time.Second)
	want("c", time.Second, 0)
	for range keptImages + 1 {
		learn(randomHex(8), 3*time.Second, 3*time.Second)
	}
	want("a", 3*time.Second, 0) // images of long ago are forgotten
	known := s.pace("a")
	known.known, known.toPlace, known.toStart = true, time.Hour, time.Hour
	if got := known.pause(0); got != longestWait {
		t.Errorf("the first look comes after %s, want %s", got, longestWait)
	}
}

// TestPaceOfTheRest: what prepare has left is looked at at once, but where it was just
// told that it does not run; and by no more looks than prepare has left.
func TestPaceOfTheRest(t *testing.T) {
	p := &pace{host: true, toPlace: 8 * time.Second, late: true, isPlaced: true}
	if got := p.pause(p.last); got != 0 {
		t.Errorf("the first look comes after %s", got)
	}
	p.last = 7 * time.Second
	if got := p.pause(p.last); got != seekPause {
		t.Errorf("after a refusal the first look comes after %s, want %s", got, seekPause)
	}
	p.known, p.toStart = true, 9*time.Second
	if got, want := p.pause(p.last), 2*time.Second-duePause; got != want {
		t.Errorf("where it is due the next look comes after %s, want %s", got, want)
	}
	p.known, p.spent = false, manyLooks
	if got, want := p.pause(p.last), p.last/2; got != want {
		t.Errorf("after many looks the next one comes after %s, want %s", got, want)
	}
}
