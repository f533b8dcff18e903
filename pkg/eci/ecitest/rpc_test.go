package ecitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 257)
	tests := []struct {
		name, code string
		params     map[string]string
	}{
		{"no name", "MissingParameter", script("", "ContainerGroupName", "")},
		{"bad name", "InvalidParameter", script("", "ContainerGroupName", "Job")},
		{"unknown parameter", "InvalidParameter", script("", "Container.1.LivenessProbe.Exec.Command", "<[]string Value>")},
		{"long command", "InvalidParameter.ValueExceeded", script(long)},
		{"long value", "InvalidParameter.ValueExceeded", script("", "Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.Value", long)},
		{"two of a name", "InvalidParameter.DuplicatedName", script("", "Container.2.Name", "build", "Container.2.Image", "host")},
		{"no such volume", "InvalidParameter", script("", "Container.1.VolumeMount.1.Name", "v", "Container.1.VolumeMount.1.MountPath", "/v")},
		{"too large", "InvalidParameter.CPU.Memory", script("", "Cpu", "65", "Memory", "1")},
		{"long token", "InvalidParameter", script("", "ClientToken", strings.Repeat("t", 65))},
		{"a scheme", "InvalidParameter", script("", "ImageRegistryCredential.1.Server", "https://r", "ImageRegistryCredential.1.UserName", "u", "ImageRegistryCredential.1.Password", "p")},
		{"dry run", "DryRunOperation", script("", "DryRun", "true")},
	}
	s := start(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, code := call(t, s, "CreateContainerGroup", tt.params); code != tt.code {
				t.Errorf("code %q, want %q", code, tt.code)
			}
		})
	}
	if n := len(s.Groups()); n != 0 {
		t.Errorf("%d groups were made", n)
	}
}

func TestKeys(t *testing.T) {
	s := start(t, ecitest.Options{})
	for _, tt := range []struct{ name, key, secret, code string }{
		{"right", "local", "local-secret", ""},
		{"wrong secret", "local", "other", "SignatureDoesNotMatch"},
		{"unknown key", "other", "local-secret", "InvalidAccessKeyId.NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, code := callAs(t, s, tt.key, tt.secret, "DescribeContainerGroups", nil); code != tt.code {
				t.Errorf("code %q, want %q", code, tt.code)
			}
		})
	}
}

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
		if _, code := call(t, s, "CreateContainerGroup", p); code != want.code || len(s.Groups()) != want.groups {
			t.Errorf("call %d: code %q, %d groups; want %v", i, code, len(s.Groups()), want)
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

func TestPaging(t *testing.T) {
	s := start(t, ecitest.Options{})
	for i := range 5 {
		create(t, s, script("exec sleep 60", "ContainerGroupName", fmt.Sprintf("g-%d", i), "Tag.1.Key", "odd", "Tag.1.Value", fmt.Sprint(i%2)))
	}
	var names []any
	next := ""
	for {
		answer, code := call(t, s, "DescribeContainerGroups", map[string]string{"Tag.1.Key": "odd", "Tag.1.Value": "0", "Limit": "2", "NextToken": next})
		if code != "" || answer["TotalCount"] != 3.0 {
			t.Fatal(code, answer)
		}
		for _, g := range answer["ContainerGroups"].([]any) {
			names = append(names, g.(map[string]any)["ContainerGroupName"])
		}
		if next = answer["NextToken"].(string); next == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[g-0 g-2 g-4]" {
		t.Errorf("names %v", names)
	}
	answer, _ := call(t, s, "DescribeContainerGroupStatus", map[string]string{"Tag.1.Key": "odd", "Tag.1.Value": "1"})
	if n := len(answer["Data"].([]any)); n != 2 {
		t.Errorf("%d states, want 2", n)
	}
}
