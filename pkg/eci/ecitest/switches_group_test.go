package ecitest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// stubborn is a PID 1 that no TERM ends: the kernel passes on none that it does not handle.
const stubborn = "exec sleep 1000"

// longEnough is how long a loaded machine may take to do what one of the two settings of
// a switch never does.
const longEnough = 8 * time.Second

func deleteCode(t *testing.T, s *ecitest.Server, id string, more ...string) string {
	t.Helper()
	p := map[string]string{"ContainerGroupId": id}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	_, code := call(t, s, "DeleteContainerGroup", p)
	return code
}

// shown is a group's status in a describe answer, "none" without one.
func shown(t *testing.T, s *ecitest.Server, id string) string {
	t.Helper()
	if g := describe(t, s, id); g != nil {
		return g["Status"].(string)
	}
	return "none"
}

// gone waits until nothing of a group runs any more.
func gone(t *testing.T, s *ecitest.Server, id string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); slices.Contains(s.Live(), id); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s is still live", id)
		}
	}
}

// stuck creates a group that can't be removed by a call.
func stuck(t *testing.T, s *ecitest.Server) string {
	t.Helper()
	answer, code := call(t, s, "CreateContainerGroup", script(stubborn))
	if code != "" {
		t.Fatal(code)
	}
	return answer["ContainerGroupId"].(string)
}

func closed(t *testing.T, s *ecitest.Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func groupSwitchTests() []switchTest {
	return []switchTest{
		{
			thrown: ecitest.Switches{NewGroupHiddenFor: time.Hour}, off: "true", on: "false",
			look: func(t *testing.T, s *ecitest.Server) string {
				return fmt.Sprint(describe(t, s, create(t, s, script("exec sleep 60"))) != nil)
			},
		},
		{
			thrown: ecitest.Switches{DeletedGroupStaysVisible: time.Hour}, off: "none", on: "Terminating",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := running(t, s)
				deleteCode(t, s, id, "Force", "true")
				gone(t, s, id)
				return shown(t, s, id)
			},
		},
		{
			thrown: ecitest.Switches{UnknownIDOnDescribe: "InvalidParameter.NotFound"}, off: "", on: "InvalidParameter.NotFound",
			look: func(t *testing.T, s *ecitest.Server) string {
				_, code := call(t, s, "DescribeContainerGroups", map[string]string{"ContainerGroupIds": `["eci-none"]`})
				if _, listed := call(t, s, "DescribeContainerGroups", map[string]string{"ContainerGroupName": "none"}); listed != "" {
					t.Errorf("without an id: %s", listed)
				}
				return code
			},
		},
		{
			thrown: ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}, off: "", on: "InvalidParameter.NotFound",
			look: func(t *testing.T, s *ecitest.Server) string { return deleteCode(t, s, "eci-none") },
		},
		{
			thrown: ecitest.Switches{ForceDeleteRefused: true}, off: "", on: "UnsupportedOperation",
			look: func(t *testing.T, s *ecitest.Server) string { return deleteCode(t, s, running(t, s), "Force", "true") },
		},
		// These groups stay as they are until the server is closed.
		{
			thrown: ecitest.Switches{DeleteWhileScheduling: "IncorrectStatus"}, delays: ecitest.Delays{Schedule: time.Hour}, off: "", on: "IncorrectStatus",
			look: func(t *testing.T, s *ecitest.Server) string {
				defer closed(t, s)
				return deleteCode(t, s, stuck(t, s))
			},
		},
		{
			thrown: ecitest.Switches{DeleteWhileTerminating: "OperationConflict"}, delays: ecitest.Delays{Delete: time.Hour}, off: " ", on: " OperationConflict",
			look: func(t *testing.T, s *ecitest.Server) string {
				defer closed(t, s)
				id := stuck(t, s)
				return deleteCode(t, s, id) + " " + deleteCode(t, s, id)
			},
		},
		{
			thrown: ecitest.Switches{BillingStopsAtDelete: true}, delays: ecitest.Delays{Delete: 300 * time.Millisecond}, off: "until it is gone", on: "until its delete",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := running(t, s)
				deleteCode(t, s, id, "Force", "true")
				gone(t, s, id)
				bills := s.Bills()
				b := bills[slices.IndexFunc(bills, func(b ecitest.Bill) bool { return b.GroupID == id })]
				switch {
				case !b.From.Before(b.Deleted) || b.Gone.Sub(b.Deleted) < 300*time.Millisecond:
					t.Errorf("%+v", b)
				case b.Until.Equal(b.Gone):
					return "until it is gone"
				case !b.Until.Equal(b.Deleted):
					t.Errorf("%+v", b)
				}
				return "until its delete"
			},
		},
		{thrown: ecitest.Switches{DeleteKillsAtOnce: true}, look: lastWord, off: "term\n", on: ""},
		{
			thrown: ecitest.Switches{DefaultGracePeriod: 50 * time.Millisecond}, own: true, off: "Terminating", on: "none",
			look: func(t *testing.T, s *ecitest.Server) string {
				defer closed(t, s)
				id := create(t, s, script(stubborn, "TerminationGracePeriodSeconds", ""))
				await(t, s, id, status("Running"))
				deleteCode(t, s, id)
				for until := time.Now().Add(longEnough); slices.Contains(s.Live(), id) && time.Now().Before(until); {
					settled()
				}
				return shown(t, s, id)
			},
		},
		{
			thrown: ecitest.Switches{DeadlineStatus: "Succeeded"}, off: "Failed", on: "Succeeded",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "ActiveDeadlineSeconds", "1", "TerminationGracePeriodSeconds", "0"))
				gone(t, s, id)
				return shown(t, s, id)
			},
		},
		{
			thrown: ecitest.Switches{DeadlineReason: "DeadlineExceeded"}, off: "Error 137", on: "DeadlineExceeded 137",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "ActiveDeadlineSeconds", "1", "TerminationGracePeriodSeconds", "0"))
				gone(t, s, id)
				c := state(describe(t, s, id), 0)
				return fmt.Sprint(c["Reason"], " ", c["ExitCode"])
			},
		},
		{
			thrown: ecitest.Switches{OOMReason: "Error"}, off: "OOMKilled", on: "Error",
			look: func(t *testing.T, s *ecitest.Server) string {
				return state(outOfMemory(t, s), 0)["Reason"].(string)
			},
		},
		{
			thrown: ecitest.Switches{OOMEndsGroup: true}, off: "Running Running", on: "Failed Terminated",
			look: func(t *testing.T, s *ecitest.Server) string {
				g := outOfMemory(t, s)
				id := g["ContainerGroupId"].(string)
				for until := time.Now().Add(longEnough); slices.Contains(s.Live(), id) && time.Now().Before(until); {
					settled()
				}
				g = describe(t, s, id)
				return fmt.Sprint(g["Status"], " ", state(g, 1)["State"])
			},
		},
		{
			thrown: ecitest.Switches{NoExitCodeFields: true}, off: "true", on: "false",
			look: func(t *testing.T, s *ecitest.Server) string {
				_, there := state(describe(t, s, running(t, s)), 0)["ExitCode"]
				return fmt.Sprint(there)
			},
		},
		{
			thrown: ecitest.Switches{ParallelContainerStart: true}, delays: ecitest.Delays{Pull: 100 * time.Millisecond}, off: "in order", on: "at once",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "Container.2.Name", "second", "Container.2.Image", "host", "Container.2.ImagePullPolicy", "Always"))
				events := fmt.Sprint(await(t, s, id, status("Running"))["Events"])
				if strings.Index(events, "Name:second Reason:Pulling") < strings.Index(events, "Name:build Reason:Started") {
					return "at once"
				}
				return "in order"
			},
		},
		{
			thrown: ecitest.Switches{SchedulingTime: time.Hour}, off: "Running", on: "Scheduling",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60"))
				for until := time.Now().Add(longEnough); shown(t, s, id) != "Running" && time.Now().Before(until); {
					settled()
				}
				return shown(t, s, id)
			},
		},
		{
			thrown: ecitest.Switches{CreatesAtOnce: 1}, delays: ecitest.Delays{Schedule: time.Hour}, own: true, off: "", on: "Throttling.User",
			look: func(t *testing.T, s *ecitest.Server) string {
				create(t, s, script("exec sleep 60"))
				answer, code := call(t, s, "CreateContainerGroup", script("exec sleep 60"))
				if code == "" {
					remove(t, s, answer["ContainerGroupId"].(string))
				}
				return code
			},
		},
		{
			thrown: ecitest.Switches{DefaultMaxCPU: 1}, off: "DryRunOperation", on: "QuotaExceeded",
			look: func(t *testing.T, s *ecitest.Server) string {
				_, code := call(t, s, "CreateContainerGroup", script("true", "DryRun", "true"))
				return code
			},
		},
		{
			thrown: ecitest.Switches{FirstVSwitchDecides: true}, own: true, off: "DryRunOperation", on: "InvalidVSwitchId.IpNotEnough",
			look: func(t *testing.T, s *ecitest.Server) string {
				s.SetStock(ecitest.Stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: -1}, "vsw-2": {}}})
				if _, code := call(t, s, "CreateContainerGroup", script("true", "DryRun", "true", "VSwitchId", "vsw-2,vsw-1")); code != "DryRunOperation" {
					t.Error(code)
				}
				_, code := call(t, s, "CreateContainerGroup", script("true", "DryRun", "true", "VSwitchId", "vsw-1,vsw-2"))
				return code
			},
		},
		{
			// The default of 240 minutes is 24 s here, so 10 are 1 s; the other group ends after 2 s.
			thrown: ecitest.Switches{MaxPendingMinuteIgnored: true}, delays: ecitest.Delays{MaxPending: 24 * time.Second}, off: "Failed", on: "Pending",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "Container.1.Image", "absent", "MaxPendingMinute", "10"))
				later := create(t, s, script("exec sleep 60", "Container.1.Image", "absent", "ActiveDeadlineSeconds", "2"))
				await(t, s, later, status("Failed"))
				return shown(t, s, id)
			},
		},
	}
}

// lastWord is what a container could write when it was told to end.
func lastWord(t *testing.T, s *ecitest.Server) string {
	id := create(t, s, script("trap 'echo term >/nas/word; exit' TERM; touch /nas/ready; sleep 1000 & wait",
		"TerminationGracePeriodSeconds", "60", "Volume.1.Name", "nas", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas",
		"Volume.1.FlexVolume.Options", `{"server":"nas.example","path":"/"}`, "Container.1.VolumeMount.1.Name", "nas", "Container.1.VolumeMount.1.MountPath", "/nas"))
	await(t, s, id, status("Running"))
	syncOutput(t, s, id, "until test -e /nas/ready; do sleep 0.01; done")
	deleteCode(t, s, id)
	gone(t, s, id)
	word, err := os.ReadFile(filepath.Join(s.NASDir("nas.example", "/"), "word"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(word)
}

// outOfMemory is a group whose first container was killed for memory.
func outOfMemory(t *testing.T, s *ecitest.Server) map[string]any {
	t.Helper()
	p := script(eatWhereLimited("exec tail /dev/zero"), "Cpu", "2", "Memory", "4", "Container.1.Memory", "0.03125")
	for _, key := range []string{"Image", "Command.1", "Command.2"} {
		p["Container.2."+key] = p["Container.1."+key]
	}
	p["Container.2.Name"], p["Container.2.Command.3"] = "second", "exec sleep 60"
	g := await(t, s, create(t, s, p), func(g map[string]any) bool {
		return state(g, 0)["State"] == "Terminated" && (state(g, 1)["State"] == "Running" || g["Status"] == "Failed")
	})
	if state(g, 0)["ExitCode"] == 55.0 {
		skipWithoutMemoryCgroup(t)
	}
	return g
}

// skipWithoutMemoryCgroup skips where limits can't be set, except in CI.
func skipWithoutMemoryCgroup(t *testing.T) {
	t.Helper()
	testneed.Need(t, errors.New("the memory cgroup is not writable"))
}
