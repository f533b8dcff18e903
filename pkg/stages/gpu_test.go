package stages_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// Types with GPUs are asked for by their names, of the driver's file or of a job, and
// build gets as many GPUs as each of them has.
func TestGPUTypes(t *testing.T) {
	t.Parallel()
	one, two, other := "ecs.gn6i-c4g1.xlarge", "ecs.gn6i-c24g1.12xlarge", "ecs.gn8is-2x.8xlarge"
	tests := []struct {
		name         string
		types        []string // of the driver's file
		job          string   // ECI_INSTANCE_TYPES
		outOf        string   // stock
		gpus         string   // that are asked for
		instanceType string   // that it becomes
		refused      string
	}{
		{"of the file", []string{one}, "", "", "1", one, ""},
		{"in turn", []string{two, other}, "", two, "2", other, ""},
		{"of different numbers", []string{two, one}, "", "", "1", two, ""},
		{"of the job", []string{"2-4Gi"}, two, "", "2", two, ""},
		{"none for a job that wants none", []string{one}, "2-4Gi", "", "", "2-4Gi", ""},
		{"with and without", nil, one + ",2-4Gi", "", "", "", "names types with GPUs and others, which ECI takes only apart"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stock := ecitest.Stock{}
			if tt.outOf != "" {
				stock.None = []ecitest.Offer{{InstanceType: tt.outOf}}
			}
			w := newWorld(t, ecitest.Options{Stock: stock})
			w.config.Capacity.InstanceTypes, w.config.Allow.InstanceTypes = tt.types, []string{one, two, other, "2-4Gi"}
			if tt.job != "" {
				w.job(t, map[string]any{"variables": []map[string]any{{"key": "ECI_INSTANCE_TYPES", "value": tt.job}}})
			}
			out, err := w.prepare(t)
			if tt.refused != "" {
				wantError(t, err, tt.refused)
				w.mustCleanup(t)
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			created := w.creates()[0]
			got := []string{created.Get("Container.1.Gpu"), created.Get("Container.2.Gpu"), w.instanceType(t)}
			if d := cmp.Diff([]string{"", tt.gpus, tt.instanceType}, got); d != "" {
				t.Errorf("GPUs of helper and build, and type (-want +got)\n%s", d)
			}
			if log, err := w.run(t, "step_script", "echo runs"); err != nil || log != "runs\n" {
				t.Errorf("%q, %v", log, err)
			}
			w.mustCleanup(t)
		})
	}
}

// instanceType is that of the only group.
func (w *world) instanceType(t *testing.T) string {
	t.Helper()
	groups, err := w.stage(t, new(bytes.Buffer)).API.DescribeContainerGroups(w.context(t), eci.Query{IDs: w.server.Live()})
	if err != nil || len(groups) != 1 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	return groups[0].InstanceType
}
