package ecitest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Ended groups are all listed for an hour, then the latest 100 of their region;
// those that could not be placed for a day. Time and a hundred groups are made
// up here, inside the package.
func TestPrune(t *testing.T) {
	for _, tt := range []struct {
		name, phase string
		region      string
		groups      int
		age         time.Duration
		left        int
	}{
		{"100 old ones", "Succeeded", "cn-hangzhou", 100, 2 * time.Hour, 100},
		{"150 old ones", "Failed", "cn-hangzhou", 150, 2 * time.Hour, 100},
		{"150 young ones", "Succeeded", "cn-hangzhou", 150, time.Minute, 150},
		{"150 old ones in two regions", "Succeeded", "", 150, 2 * time.Hour, 150},
		{"150 running", "Running", "cn-hangzhou", 150, 0, 150},
		{"unplaced for an hour", "ScheduleFailed", "cn-hangzhou", 150, time.Hour, 150},
		{"unplaced for a day", "ScheduleFailed", "cn-hangzhou", 3, 25 * time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Server{ctx: context.Background(), groups: map[string]*group{}}
			s.opts.Delays.setDefaults()
			newest := ""
			for i := range tt.groups {
				region := tt.region
				if region == "" {
					region = fmt.Sprint("region-", i%2)
				}
				g := s.addGroup(&groupSpec{RegionID: region})
				g.phase = tt.phase
				if tt.age > 0 {
					g.finished = time.Now().Add(-tt.age)
				}
				newest = g.id
			}
			s.prune()
			if len(s.groups) != tt.left {
				t.Errorf("%d left, want %d", len(s.groups), tt.left)
			}
			if tt.left > 0 && s.groups[newest] == nil {
				t.Error("the newest is gone")
			}
		})
	}
}

// Caches go away by themselves, each kind after its time.
func TestCachesExpire(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name        string
		status      string
		auto        bool
		retention   int64
		age, unused time.Duration // unused = 0: never used
		stays       bool
	}{
		{name: "made by hand", status: "Ready", age: 1000 * day, stays: true},
		{name: "within its retention", status: "Ready", retention: 7, age: 6 * day, stays: true},
		{name: "after its retention", status: "Ready", retention: 7, age: 8 * day},
		{name: "failed today", status: "Failed", age: 23 * time.Hour, stays: true},
		{name: "failed yesterday", status: "Failed", age: 25 * time.Hour},
		{name: "automatic, unused for 6 days", status: "Ready", auto: true, age: 6 * day, stays: true},
		{name: "automatic, unused for 8 days", status: "Ready", auto: true, age: 8 * day},
		{name: "automatic, used 29 days ago", status: "Ready", auto: true, age: 90 * day, unused: 29 * day, stays: true},
		{name: "automatic, used 31 days ago", status: "Ready", auto: true, age: 90 * day, unused: 31 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Server{}
			c := s.addCache("cn-hangzhou", cacheSpec{Retention: tt.retention}, tt.auto)
			c.status, c.created, c.changed = tt.status, time.Now().Add(-tt.age), time.Now().Add(-tt.age)
			if tt.unused > 0 {
				c.matched = time.Now().Add(-tt.unused)
			}
			if got := s.cache("cn-hangzhou", c.id) != nil; got != tt.stays {
				t.Errorf("is there: %v", got)
			}
		})
	}
}

// Events that come again are counted; the latest 50 are kept.
func TestEventsKept(t *testing.T) {
	var events []event
	for i := range 60 {
		for range 2 {
			events = addEvent(events, event{Type: "Normal", Reason: "Pulled", Name: fmt.Sprint("c", i), Message: "m"})
		}
	}
	if len(events) != 50 || events[0].Name != "c10" || events[49].Name != "c59" {
		t.Fatalf("%d events, from %s", len(events), events[0].Name)
	}
	for _, e := range events {
		if e.Count != 2 || e.First.IsZero() || e.Last.Before(e.First) {
			t.Errorf("%+v", e)
		}
	}
}
