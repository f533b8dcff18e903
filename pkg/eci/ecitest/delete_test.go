package ecitest_test

import (
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestDeleteContainerGroup(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("exec sleep 60"))
	runTable(t, s, "DeleteContainerGroup", pairs("ContainerGroupId", id), []actionTest{
		{"no id", pairs("ContainerGroupId", ""), "400 MissingParameter"},
		{"wrong boolean", pairs("Force", "very"), "400 InvalidParameter"},
		{"long token", pairs("ClientToken", string(make([]byte, 65))), "400 InvalidParameter"},
		{"of another region", pairs("RegionId", "cn-hangzhou"), "200"},
		{"unknown id", pairs("ContainerGroupId", "eci-none"), "200"},
		{"first", nil, "200"},
		{"again", nil, "200"},
		{"with force", pairs("Force", "true"), "200"},
	})
	await(t, s, id, func(g map[string]any) bool { return g == nil })
}

func TestDeleteSwitches(t *testing.T) {
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
		tests    []actionTest
	}{
		{"unknown id", ecitest.Switches{UnknownIDOnDelete: "InvalidParameter.NotFound"}, []actionTest{
			{"call", pairs("ContainerGroupId", "eci-none"), "404 InvalidParameter.NotFound"},
		}},
		{"another code for it", ecitest.Switches{UnknownIDOnDelete: "IncorrectStatus"}, []actionTest{
			{"call", pairs("ContainerGroupId", "eci-none"), "400 IncorrectStatus"},
		}},
		{"no force", ecitest.Switches{ForceDeleteRefused: true}, []actionTest{
			{"with", pairs("Force", "true"), "400 UnsupportedOperation"}, {"without", nil, "200"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Switches: tt.switches})
			runTable(t, s, "DeleteContainerGroup", pairs("ContainerGroupId", create(t, s, script("exec sleep 60"))), tt.tests)
		})
	}
	// These groups stay as they are until the server is closed.
	for _, tt := range []struct {
		name     string
		switches ecitest.Switches
		delays   ecitest.Delays
		tests    []actionTest
	}{
		{"while Scheduling", ecitest.Switches{DeleteWhileScheduling: "OperationConflict"}, ecitest.Delays{Schedule: time.Hour}, []actionTest{
			{"call", nil, "400 OperationConflict"},
		}},
		{"while Terminating", ecitest.Switches{DeleteWhileTerminating: "IncorrectStatus"}, ecitest.Delays{Delete: time.Hour}, []actionTest{
			{"first", nil, "200"}, {"again", nil, "400 IncorrectStatus"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Switches: tt.switches, Delays: tt.delays})
			answer, code := call(t, s, "CreateContainerGroup", script("exec sleep 60"))
			if code != "" {
				t.Fatal(code)
			}
			runTable(t, s, "DeleteContainerGroup", pairs("ContainerGroupId", answer["ContainerGroupId"].(string)), tt.tests)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
