package stages

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

func TestReapVerdicts(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	unix := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	own := scope{name: "shop"}
	tests := []struct {
		name   string
		change func(*eci.Group)
		over   bool
		scope  scope // own where empty
		older  time.Duration
		noDate bool
		remove bool
		why    string
	}{
		{name: "a running job", why: "may run for 1h0m0s"},
		{name: "a running job whose status nobody knows", change: func(g *eci.Group) { g.Status = "Hibernating" }, why: "may run for"},
		{name: "expired, not 5 minutes ago", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = unix(ago(5 * time.Minute)) }, why: "expired 5m0s ago, not yet 5m0s"},
		{name: "expired", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = unix(ago(301 * time.Second)) }, remove: true, why: "expired 5m1s ago"},
		{name: "expired, by an unknown time", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = unix(ago(time.Hour)) }, noDate: true, why: "time is not known"},
		{name: "expired and being deleted for long", change: func(g *eci.Group) {
			g.Tags[tagExpiresAt], g.Status = unix(ago(time.Hour)), statusTerminating
		}, remove: true, why: "expired"},
		{name: "being deleted", change: func(g *eci.Group) { g.Status = statusTerminating }, over: true, why: "is being deleted"},
		{name: "over by a record", over: true, remove: true, why: "its job is over"},
		{name: "over by a record, at an unknown time", over: true, noDate: true, remove: true, why: "its job is over"},
		{name: "over by a record, of a runner that is not known", over: true, scope: scope{known: []Runner{}}, remove: true, why: "its job is over"},
		{name: "succeeded 10 minutes ago", change: func(g *eci.Group) { g.Status, g.SucceededTime = "Succeeded", ago(10*time.Minute) }, why: "ended 10m0s ago"},
		{name: "succeeded", change: func(g *eci.Group) { g.Status, g.SucceededTime = "Succeeded", ago(601*time.Second) }, remove: true, why: "ended 10m1s ago"},
		{name: "failed", change: func(g *eci.Group) { g.Status, g.FailedTime = "Failed", ago(time.Hour) }, remove: true, why: "ended 1h0m0s ago"},
		{name: "reclaimed", change: func(g *eci.Group) { g.Status, g.ExpiredTime = "Expired", ago(time.Hour) }, remove: true, why: "ended"},
		{name: "not to be scheduled", change: func(g *eci.Group) {
			g.Status, g.Events = "ScheduleFailed", []eci.Event{{Last: ago(11 * time.Minute)}, {Last: ago(40 * time.Minute)}}
		}, remove: true, why: "ended 11m0s ago"},
		{name: "not to be scheduled just now", change: func(g *eci.Group) {
			g.Status, g.Events = "ScheduleFailed", []eci.Event{{Last: ago(time.Minute)}}
		}, why: "ended 1m0s ago"},
		{name: "ended, and nothing tells when", change: func(g *eci.Group) { g.Status, g.CreationTime = "Failed", time.Time{} }, why: "may run for"},
		{name: "no instance", change: func(g *eci.Group) { delete(g.Tags, tagInstance) }, over: true, why: "its tag instance is missing"},
		{name: "no runner", change: func(g *eci.Group) { delete(g.Tags, tagRunner) }, over: true, why: "its tag runner is missing"},
		{name: "no attempt", change: func(g *eci.Group) { delete(g.Tags, tagAttempt) }, over: true, why: "its tag attempt is missing"},
		{name: "no expiry", change: func(g *eci.Group) { delete(g.Tags, tagExpiresAt) }, over: true, why: "its tag expires-at is missing"},
		{name: "an unreadable expiry", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "noon\n" }, over: true, why: `its tag expires-at is unreadable: "noon\n"`},
		{name: "an expiry before all time", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "-1" }, over: true, why: "unreadable"},
		{name: "another runner's", change: func(g *eci.Group) { g.Tags[tagRunner], g.Tags[tagExpiresAt] = "9", "1" }, why: `of another runner: "9"`},
		{name: "another runner's, told", change: func(g *eci.Group) { g.Tags[tagRunner], g.Tags[tagExpiresAt] = "9", "1" }, scope: scope{told: "9", name: "shop"}, remove: true, why: "expired"},
		{name: "one's own, another one told", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "1" }, scope: scope{told: "9", name: "shop"}, why: "of another runner"},
		{name: "known by id", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "1" }, scope: scope{known: []Runner{{"gitlab.example.com", "shop"}}}, remove: true, why: "expired"},
		{name: "the same id on another instance", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "1" }, scope: scope{known: []Runner{{"gitlab.com", "shop"}}}, why: "of another runner"},
		{name: "no runner known", change: func(g *eci.Group) { g.Tags[tagExpiresAt] = "1" }, scope: scope{known: []Runner{}}, why: "of another runner"},
		{name: "younger than asked for", older: 3 * time.Hour, over: true, why: "not older than 3h0m0s"},
		{name: "older than asked for", older: 2 * time.Hour, over: true, remove: true, why: "its job is over"},
		{name: "of no age", older: time.Second, change: func(g *eci.Group) { g.CreationTime = time.Time{} }, over: true, why: "not older than"},
		{name: "of an age by an unknown time", older: time.Second, noDate: true, over: true, why: "not older than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &eci.Group{ID: "eci-1", Status: "Running", CreationTime: ago(2 * time.Hour), Tags: map[string]string{
				tagManagedBy: DriverName, tagInstance: "gitlab.example.com", tagRunner: "shop", tagAttempt: "0123abcd",
				tagExpiresAt: unix(now.Add(time.Hour))}}
			if tt.change != nil {
				tt.change(g)
			}
			r := &reaping{options: ReapOptions{OlderThan: tt.older}, runners: tt.scope}
			if tt.scope.empty() && tt.scope.known == nil {
				r.runners = own
			}
			date := now
			if tt.noDate {
				date = time.Time{}
			}
			v := r.judge(g, tt.over, date)
			if v.remove != tt.remove || !strings.Contains(v.why, tt.why) {
				t.Errorf("remove %v, %q; want %v, %q", v.remove, v.why, tt.remove, tt.why)
			}
		})
	}
}

// A group counts as looked for when its time has come, however late that is.
func TestLooks(t *testing.T) {
	over := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		looks int
		after time.Duration
		due   bool
		want  int  // looks after one now
		last  bool // of them
	}{
		{"cleanup was killed", 0, time.Second, true, 1, false},
		{"cleanup was killed, before the clock went back", 0, -time.Hour, true, 1, false},
		{"too early for the second", 1, 29 * time.Second, false, 1, false},
		{"the second", 1, 30 * time.Second, true, 2, false},
		{"the second, late", 1, 10 * time.Minute, true, 3, false},
		{"the third", 2, 5 * time.Minute, true, 3, false},
		{"too early for the last", 3, 59 * time.Minute, false, 3, false},
		{"the last", 3, time.Hour, true, 4, true},
		{"all at once, after a night", 0, 9 * time.Hour, true, 4, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Record{Over: over, Looks: tt.looks}
			if due := r.due(over.Add(tt.after)); due != tt.due {
				t.Errorf("due %v, want %v", due, tt.due)
			}
			if last := r.looked(over.Add(tt.after)); last != tt.last || r.Looks != tt.want {
				t.Errorf("%d looks, last %v; want %d, %v", r.Looks, last, tt.want, tt.last)
			}
		})
	}
}
