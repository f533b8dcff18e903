package ecitest_test

import (
	"testing"

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
