package check_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/passthrough"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// goLive makes the job's times those of a test.
func (w *world) goLive() {
	w.options.Live, w.options.Settle, w.options.Remote = true, 1500*time.Millisecond, remote.DefaultSettings().Scaled(20)
}

// switchText is a switch's value as a line of check tells it.
func switchText(s ecitest.Switches, name string) string {
	return fmt.Sprint(reflect.ValueOf(s).FieldByName(name))
}

// TestLive: under each profile the job runs, and what --live says of the service is
// what the profile's switches are.
func TestLive(t *testing.T) {
	t.Parallel()
	for _, profile := range ecitest.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			switches, err := ecitest.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, ecitest.Options{Switches: switches, Delays: ecitest.Delays{Delete: 300 * time.Millisecond, Pull: time.Second}})
			w.goLive()
			report := w.check()
			told := 0
			for _, l := range report.Lines {
				switch {
				case l.Check == "live":
					if l.Status != check.OK || l.Seconds <= 0 {
						t.Error(l)
					}
				case l.Check == "assumption" && l.Status == check.OK:
					told++
					agree(t, switches, l)
				case l.Check == "assumption":
					t.Log(l)
				case l.Status != check.OK:
					t.Error(l)
				}
			}
			if want := len(check.Assumptions()) - 3; told < want {
				t.Errorf("%d assumptions told, want %d", told, want)
			}
			phases := []string{"prepare", "helper script", "build script", "cleanup", "gone"}
			var got []string
			for _, l := range report.Lines {
				if l.Check == "live" {
					got = append(got, l.Subject)
				}
			}
			if !reflect.DeepEqual(got, phases) {
				t.Errorf("phases %q", got)
			}
		})
	}
}

// TestLiveOfASlowService: what is told holds where answers come late. Here the group is listed
// between a question and its answer, and an exec is called while the group is Pending and
// accepted when it runs.
func TestLiveOfASlowService(t *testing.T) {
	t.Parallel()
	switches := ecitest.Switches{NewGroupHiddenFor: time.Second}
	w := newWorld(t, ecitest.Options{Switches: switches, Delays: ecitest.Delays{Pull: time.Second}})
	w.goLive()
	rules, err := ecitest.ParseRules("DescribeContainerGroups:delay=600ms,times=8", "ExecContainerCommand:delay=1500ms,skip=1,times=1")
	if err != nil {
		t.Fatal(err)
	}
	w.server.SetFaults(ecitest.Faults{Rules: rules})
	told := map[string]bool{}
	for _, l := range w.check().Lines {
		if l.Check == "assumption" && l.Status == check.OK {
			told[l.Subject] = true
			agree(t, switches, l)
		}
	}
	if !told["NewGroupHiddenFor"] {
		t.Error("nothing is told of the group's listing: the test shows nothing")
	}
}

// agree holds a line against the switch.
func agree(t *testing.T, switches ecitest.Switches, l check.Line) {
	t.Helper()
	switch l.Subject {
	case "FIFOsApart", "RootlessBuilds":
		if err := passthrough.Supported(); err != nil {
			t.Log(err)
			return
		}
	}
	want := switchText(switches, l.Subject)
	switch l.Subject {
	case "NewGroupHiddenFor", "DeletedGroupStaysVisible":
		got, err := time.ParseDuration(l.Value)
		least, _ := time.ParseDuration(want)
		if err != nil || got < least {
			t.Errorf("%s, want at least %s", l, want)
		}
		return
	case "UnknownIDOnExec", "UnknownIDOnLog":
		if want == "" {
			want = "InvalidParameter.NotFound"
		}
	case "DryRunCode":
		if want == "" {
			want = "DryRunOperation"
		}
	}
	if l.Value != want {
		t.Errorf("%s, want %q", l, want)
	}
}

// TestLiveNeeds: no job is tried where it can't run.
func TestLiveNeeds(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.goLive()
	w.deny("ExecContainerCommand")
	report := w.check()
	if l := lineOf(t, report, "live"); l.Status != check.Skipped || l.Text != "needs ram-exec" {
		t.Error(l)
	}
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" && c.HTTPStatus == 200 {
			t.Error("a group was made")
		}
	}
}

// TestLiveFails: whatever goes wrong with the job is told, and its group is deleted
// (newWorld has the leak check).
func TestLiveFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, fault string
		phase, says string // of the line that fails; "*" = any, "" = none
	}{
		{"image", "group:pull", "prepare", "can't be pulled"},
		{"never scheduled", "group:schedule-failed=NoStock", "prepare", "NoStock"},
		{"build dies", "group:kill=build,after=1ms", "*", "build"},
		{"create unanswered once", "CreateContainerGroup:cut=after,skip=3,times=1", "", ""},
		{"delete unanswered", "DeleteContainerGroup:cut=before,skip=1,times=3", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.goLive()
			rules, err := ecitest.ParseRules(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			w.server.SetFaults(ecitest.Faults{Rules: rules})
			if tt.name == "image" { // a pull may heal, so it is waited for
				w.replace(`ready = "20s"`, `ready = "4s"`)
			}
			w.options.Settle = 50 * time.Millisecond // what the group is asked is TestLive's matter
			report := w.check()
			found := tt.phase == ""
			for _, l := range report.Lines {
				if l.Check != "live" {
					continue
				}
				switch {
				case l.Status != check.Failed:
				case tt.phase == "":
					t.Error(l)
				case (tt.phase == "*" || tt.phase == l.Subject) && strings.Contains(l.Text, tt.says):
					found = true
				}
				if l.Subject == "gone" && !strings.Contains(l.Text, "0 container groups left") {
					t.Error(l)
				}
			}
			if !found {
				t.Errorf("not told: %v", report.Lines)
			}
		})
	}
}

// TestLiveInterrupted: a Ctrl-C at any point of the job leaves nothing.
func TestLiveInterrupted(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateContainerGroup", "DescribeContainerGroups", "ExecContainerCommand"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Delays: ecitest.Delays{Schedule: 200 * time.Millisecond}})
			w.goLive()
			w.write()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			checked := make(chan struct{})
			w.server.SetFaults(ecitest.Faults{Call: func(got string, _ int) ecitest.CallFault {
				select {
				case <-checked:
				default:
					return ecitest.CallFault{}
				}
				if got != action || ctx.Err() != nil {
					return ecitest.CallFault{}
				}
				cancel()
				return ecitest.CallFault{DelayAfter: 300 * time.Millisecond}
			}})
			var told []check.Line
			last := check.List()[len(check.List())-1].Name
			report := check.Run(ctx, w.options, func(l check.Line) {
				if told = append(told, l); l.Check == last {
					close(checked) // what follows is the job's
				}
			})
			noSecrets(t, report)
			if ctx.Err() == nil || len(told) != len(report.Lines) {
				t.Fatalf("not interrupted: %v", told)
			}
			if l := told[len(told)-1]; l.Subject != "gone" && l.Check != "assumption" || l.Status == check.Failed {
				t.Errorf("the last line is %s", l)
			}
			if live := w.server.Live(); len(live) > 0 {
				t.Errorf("left when check ended: %v", live)
			}
		})
	}
}
