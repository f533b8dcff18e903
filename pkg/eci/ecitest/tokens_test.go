package ecitest_test

import (
	"maps"
	"sync"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestClientTokenAndFaults(t *testing.T) {
	s := start(t, ecitest.Options{})
	s.SetFaults(ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		return map[int]ecitest.CallFault{
			0: {CutBefore: true}, 1: {Code: "Throttling", Message: "slow down"}, 2: {CutAfter: true},
		}[n]
	}})
	p := script("exec sleep 60", "ClientToken", "t1")
	for i, want := range []struct {
		code   string
		groups int
	}{{"transport", 0}, {"Throttling", 0}, {"transport", 1}, {"", 1}} {
		answer, code := call(t, s, "CreateContainerGroup", p)
		if code != want.code || len(s.Groups()) != want.groups {
			t.Errorf("call %d: code %q, %d groups; want %v", i, code, len(s.Groups()), want)
		}
		if id, ok := answer["ContainerGroupId"].(string); ok {
			t.Cleanup(func() { remove(t, s, id) })
		}
	}
	p["ActiveDeadlineSeconds"] = "60"
	if _, code := call(t, s, "CreateContainerGroup", p); code != "IdempotentParameterMismatch" {
		t.Errorf("code %q", code)
	}
	if calls := s.Calls(); len(calls) != 5 || calls[2].Code != "cut" || len(calls[3].InQuery) == 0 || calls[3].HTTPStatus != 200 {
		t.Errorf("calls %+v", calls)
	}
}

// A token is the same answer for ever, even when what it made is gone.
func TestClientTokenOutlivesItsGroup(t *testing.T) {
	p := script("exec sleep 60", "ClientToken", "t1")
	t.Run("for ever", func(t *testing.T) {
		s := start(t, ecitest.Options{})
		id := create(t, s, p)
		remove(t, s, id)
		await(t, s, id, func(g map[string]any) bool { return g == nil })
		if again := create(t, s, p); again != id {
			t.Errorf("%s, want %s", again, id)
		}
		if n := len(s.Groups()); n != 0 {
			t.Errorf("%d groups", n)
		}
		changed := maps.Clone(p)
		changed["Memory"] = "8"
		if _, got := outcome(t, s, "CreateContainerGroup", changed); got != "400 IdempotentParameterMismatch" {
			t.Error(got)
		}
	})
	t.Run("not across regions", func(t *testing.T) {
		s := start(t, ecitest.Options{})
		here := create(t, s, p)
		answer, code := call(t, s, "CreateContainerGroup", with(p, pairs("RegionId", "cn-hangzhou")))
		if code != "" || answer["ContainerGroupId"] == here {
			t.Errorf("%v, %s", answer, code)
		}
		call(t, s, "DeleteContainerGroup", pairs("RegionId", "cn-hangzhou", "ContainerGroupId", answer["ContainerGroupId"].(string)))
	})
	t.Run("not after wrong parameters or a dry run", func(t *testing.T) {
		s := start(t, ecitest.Options{})
		for _, change := range []map[string]string{pairs("Cpu", "-1"), pairs("DryRun", "true"), nil} {
			outcome(t, s, "CreateContainerGroup", with(p, change))
		}
		if n := len(s.Groups()); n != 1 {
			t.Errorf("%d groups, want 1", n)
		}
		remove(t, s, s.Groups()[0].ID)
	})
}

func TestClientTokenAtOnce(t *testing.T) {
	s := start(t, ecitest.Options{})
	p := script("exec sleep 60", "ClientToken", "t1")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() { call(t, s, "CreateContainerGroup", p) })
	}
	wait.Wait()
	groups := s.Groups()
	if len(groups) != 1 {
		t.Fatalf("%d groups of one token", len(groups))
	}
	remove(t, s, groups[0].ID)
}

func TestDeleteToken(t *testing.T) {
	s := start(t, ecitest.Options{Switches: ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}})
	id := create(t, s, script("exec sleep 60"))
	p := pairs("ContainerGroupId", id, "ClientToken", "d1", "Force", "true")
	runTable(t, s, "DeleteContainerGroup", p, []actionTest{{"first", nil, "200"}})
	await(t, s, id, func(g map[string]any) bool { return g == nil })
	runTable(t, s, "DeleteContainerGroup", p, []actionTest{
		{"same token", nil, "200"},
		{"other parameters", pairs("Force", "false"), "400 IdempotentParameterMismatch"},
		{"new token", pairs("ClientToken", "d2"), "404 InvalidParameter.NotFound"},
	})
}
