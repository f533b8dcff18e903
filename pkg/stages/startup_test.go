package stages

import (
	"testing"
	"time"
)

// TestLearnedStartup: the first poll comes when nearly the fastest of the recent
// groups ran, and a little earlier each time that it finds one running already.
func TestLearnedStartup(t *testing.T) {
	s := store{t.TempDir()}
	if got := s.learnedStartup(); got != 0 {
		t.Errorf("nothing learned, but %s", got)
	}
	steps := []struct {
		name         string
		notYet, took time.Duration
		want         time.Duration
	}{
		{"between two polls", 11 * time.Second, 13 * time.Second, 12 * time.Second},
		{"a slow one", 19 * time.Second, 21 * time.Second, 12 * time.Second},
		{"at the first poll", 0, 12 * time.Second, 11400 * time.Millisecond},
		{"one that was fast by chance, and is the fastest of four", time.Second, 3 * time.Second, 2 * time.Second},
		{"and of five", 11 * time.Second, 13 * time.Second, 11400 * time.Millisecond},
	}
	for _, step := range steps {
		s.learnStartup(step.notYet, step.took)
		if got := s.learnedStartup(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	for range keptStartups {
		s.learnStartup(time.Hour, time.Hour)
	}
	if got := s.learnedStartup(); got != longestWait {
		t.Errorf("after slow starts alone: %s, want %s", got, longestWait)
	}
}

// TestLearnedStartupSettles: whatever a host's groups take, the first poll comes
// soon after, or a little before.
func TestLearnedStartupSettles(t *testing.T) {
	for _, takes := range []time.Duration{60 * time.Millisecond, 900 * time.Millisecond, 12 * time.Second, 40 * time.Second} {
		s := store{t.TempDir()}
		worst := time.Duration(0)
		for job := range 60 {
			var notYet time.Duration
			at := s.learnedStartup()
			for pause := firstPause; at < takes; pause = min(pause*3/2, slowPause) {
				notYet, at = at, at+pause
			}
			if job > 20 {
				worst = max(worst, at-takes)
			}
			s.learnStartup(notYet, at)
		}
		if worst > slowPause/2 {
			t.Errorf("groups that take %s are found %s late", takes, worst)
		}
		t.Logf("groups that take %s: at most %s late", takes, worst)
	}
}
