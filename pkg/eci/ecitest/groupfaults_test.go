package ecitest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// afflicted creates a group under a rule for groups.
func afflicted(t *testing.T, rule string, params map[string]string) (*ecitest.Server, string) {
	t.Helper()
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, rule)}})
	return s, create(t, s, params)
}

func TestGroupFaults(t *testing.T) {
	volume := []string{"Volume.1.Name", "m2", "Volume.1.Type", "EmptyDirVolume"}
	tests := []struct {
		name, rule    string
		status        string // that it comes to
		state, reason string // of its container
		event         string // among its events
		live          int    // groups that are billed then
	}{
		{"ScheduleFailed", `group:schedule-failed=NoStock,message="none in zone a, b"`, "ScheduleFailed", "Waiting", "ContainerCreating",
			"Message:none in zone a, b Name:ci-test Reason:NoStock Type:Warning", 0},
		{"mount failure", "group:mount=mount.nfs: access denied", "Pending", "Waiting", "ContainerCreating", "Message:mount.nfs: access denied Name:ci-test Reason:FailedMount", 1},
		{"pull failure", "group:pull=host manifest unknown", "Pending", "Waiting", "ImagePullBackOff", `Failed to pull image "host": manifest unknown`, 1},
		{"pull failure of any", "group:pull", "Pending", "Waiting", "ImagePullBackOff", "i/o timeout", 1},
		{"pull of another image", "group:pull=other", "Running", "Running", "", "Pulled", 1},
		{"an event", "group:pending,event=Warning FailedScheduling@build no room", "Pending", "Waiting", "ContainerCreating", "Message:no room Name:build Reason:FailedScheduling", 1},
		{"killed", "group:kill=build", "Failed", "Terminated", "Error", "Started", 0},
		{"killed for memory", "group:kill=build,oom", "Failed", "Terminated", "OOMKilled", "Reason:OOMKilled", 0},
		{"reclaimed", "group:reclaim", "Expired", "Terminated", "Error", "Reason:SpotToBeReleased", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, id := afflicted(t, tt.rule, script("exec sleep 60", volume...))
			g := await(t, s, id, func(g map[string]any) bool {
				return g["Status"] == tt.status && state(g, 0)["State"] == tt.state && state(g, 0)["Reason"] == tt.reason && strings.Contains(fmt.Sprint(g["Events"]), tt.event)
			})
			if live := s.Live(); len(live) != tt.live {
				t.Errorf("%d live groups, want %d: %v", len(live), tt.live, g)
			}
		})
	}
}

func TestPendingForever(t *testing.T) {
	s := start(t, ecitest.Options{Delays: ecitest.Delays{MaxPending: 100 * time.Millisecond}, Faults: ecitest.Faults{Rules: rules(t, "group:pending")}})
	id := create(t, s, script("exit 0"))
	g := await(t, s, id, status("Failed")) // only the limit ends it
	if text := fmt.Sprint(g["Events"]); !strings.Contains(text, "PendingTimeout") || strings.Contains(text, "Pulling") {
		t.Errorf("events %s", text)
	}
}

func TestReclaimGivesNotice(t *testing.T) {
	noticed := func(g map[string]any) bool { return strings.Contains(fmt.Sprint(g["Events"]), "SpotToBeReleased") }
	s, id := afflicted(t, "group:reclaim,notice=1h,after=10ms", script("exec sleep 1000"))
	if g := await(t, s, id, noticed); g["Status"] != "Running" {
		t.Errorf("status %v at the notice", g["Status"])
	}
	// No grace period at the end, which await would not wait for: the machine is gone.
	s, id = afflicted(t, "group:reclaim,notice=300ms,after=10ms", script("exec sleep 1000", "TerminationGracePeriodSeconds", "600"))
	if g := await(t, s, id, status("Expired")); g["ExpiredTime"] == "" || !noticed(g) {
		t.Errorf("reclaimed: %v", g)
	}
}

// A group's own times go before those of the server, and are told of it afterwards.
func TestSlowGroup(t *testing.T) {
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, "group:schedule=200ms,pull-time=host 300ms")}})
	id := create(t, s, script("exec sleep 60"))
	await(t, s, id, status("Running"))
	g := s.Groups()[0]
	if waited := g.Placed.Sub(g.Created); waited < 200*time.Millisecond {
		t.Errorf("placed after %s", waited)
	}
	for name, started := range g.Started {
		if pulled := started.Sub(g.Placed); pulled < 300*time.Millisecond {
			t.Errorf("%s started %s after it was placed", name, pulled)
		}
	}
	if len(g.Started) != 1 {
		t.Errorf("%d containers have started: %v", len(g.Started), g.Started)
	}
}

func TestHiddenGroup(t *testing.T) {
	begun := time.Now()
	s, id := afflicted(t, "group:hidden=300ms", script("exec sleep 60"))
	if live := s.Live(); len(live) != 1 {
		t.Errorf("live: %v", live)
	}
	await(t, s, id, func(g map[string]any) bool { return g != nil })
	if seen := time.Since(begun); seen < 300*time.Millisecond {
		t.Errorf("listed %s after its creation", seen)
	}
}

func TestDeletedBehindTheClient(t *testing.T) {
	s, id := afflicted(t, "group:delete,after=10ms", script("exec sleep 60"))
	await(t, s, id, func(g map[string]any) bool { return g == nil })
	for _, c := range s.Calls() {
		if c.Action == "DeleteContainerGroup" {
			t.Error("a client deleted it")
		}
	}
}

// The same by hand, for tests that wait for a moment of their own.
func TestGroupsByHand(t *testing.T) {
	s := start(t, ecitest.Options{})
	tests := []struct {
		name string
		do   func(id string) error
		done func(map[string]any) bool
	}{
		{"kill", func(id string) error { return s.KillContainer(id, "build") }, status("Failed")},
		{"reclaim", func(id string) error { return s.ReclaimGroup(id, 0) }, status("Expired")},
		{"delete", s.DeleteGroup, func(g map[string]any) bool { return g == nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := running(t, s)
			if err := tt.do(id); err != nil {
				t.Fatal(err)
			}
			await(t, s, id, tt.done)
			if err := tt.do("eci-none"); err == nil || !strings.Contains(err.Error(), "no container group eci-none") {
				t.Errorf("of an unknown group: %v", err)
			}
		})
	}
	if live := s.Live(); len(live) > 0 {
		t.Errorf("live: %v", live)
	}
}

// A group's fault is decided by its own request, once for a client token.
func TestGroupFaultIsThatOfTheRequest(t *testing.T) {
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, "group:schedule-failed=NoStock,where=ZoneId=ap-northeast-1a,times=1")}})
	p := script("exec sleep 60", "ClientToken", "t", "ZoneId", "ap-northeast-1a")
	spared := create(t, s, script("exec sleep 60", "ZoneId", "ap-northeast-1b"))
	first, again := create(t, s, p), create(t, s, p)
	if first != again {
		t.Errorf("two groups of a token")
	}
	await(t, s, first, status("ScheduleFailed"))
	await(t, s, spared, status("Running"))
	p["ClientToken"] = "u"
	await(t, s, create(t, s, p), status("Running"))
}
