package stages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
)

// permissive lets a job ask for everything.
const permissive = smallDriverFile + `
[allow]
max_cpu = 8
max_memory = "32GiB"
max_ephemeral_storage = 100
instance_types = ["ecs.c6.large", "2-4Gi"]
spot = ["none", "as-price-go", "price-limit"]
ram_roles = ["deploy"]
users = ["1000", "1000:100"]
[debug]
keep_on_failure = "1h"
`

// strict lets it ask for nothing.
const strict = smallDriverFile + `
[allow]
max_cpu = 0
max_memory = ""
`

// asking is the create request of a job with these variables, as far as it differs
// from that of the job without them.
func asking(t *testing.T, driverFile string, variables map[string]string, change func(*Job)) (map[string]string, error) {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(driverFile))
	if err != nil {
		t.Fatal(err)
	}
	job := func() *Job {
		j := someJob()
		j.Services = []Image{{Name: "redis:7"}}
		j.variables = map[string]string{}
		return j
	}
	plain, err := groupSpec(cfg, job(), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	with := job()
	with.variables = variables
	if change != nil {
		change(with)
	}
	spec, err := groupSpec(cfg, with, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	differs := map[string]string{}
	params, before := spec.Params(), plain.Params()
	for key, value := range params {
		if before[key] != value {
			differs[key] = value
		}
	}
	for key := range before {
		if _, ok := params[key]; !ok {
			differs[key] = ""
		}
	}
	return differs, nil
}

// TestOverwrites: each variable by which a job asks for something, and each name that
// the Kubernetes executor has for it.
func TestOverwrites(t *testing.T) {
	cpu := func(v string) map[string]string { return map[string]string{"Cpu": v} }
	memory := func(v string) map[string]string { return map[string]string{"Memory": v} }
	tests := []struct {
		name, value string
		want        map[string]string // parameters
	}{
		{"ECI_CPU", "4", cpu("4")},
		{"ECI_CPU", "0.5", cpu("0.5")},
		{"KUBERNETES_CPU_LIMIT", "500m", cpu("0.5")},
		{"KUBERNETES_CPU_REQUEST", "8", cpu("8")},
		{"ECI_MEMORY", "16GiB", memory("16")},
		{"KUBERNETES_MEMORY_LIMIT", "512Mi", memory("0.5")},
		{"KUBERNETES_MEMORY_REQUEST", "8Gi", memory("8")},
		{"KUBERNETES_MEMORY_LIMIT", "8589934592", memory("8")},
		{"ECI_HELPER_CPU", "1", map[string]string{"Cpu": "3", "Container.1.Cpu": "1"}},
		{"KUBERNETES_HELPER_CPU_LIMIT", "1", map[string]string{"Cpu": "3", "Container.1.Cpu": "1"}},
		{"KUBERNETES_HELPER_CPU_REQUEST", "1", map[string]string{"Cpu": "3", "Container.1.Cpu": "1"}},
		{"ECI_HELPER_MEMORY", "1Gi", map[string]string{"Memory": "5", "Container.1.Memory": "1"}},
		{"KUBERNETES_HELPER_MEMORY_LIMIT", "1Gi", map[string]string{"Memory": "5", "Container.1.Memory": "1"}},
		{"KUBERNETES_HELPER_MEMORY_REQUEST", "1Gi", map[string]string{"Memory": "5", "Container.1.Memory": "1"}},
		{"ECI_SERVICE_CPU", "2", map[string]string{"Cpu": "4", "Container.3.Cpu": "2"}},
		{"KUBERNETES_SERVICE_CPU_LIMIT", "2", map[string]string{"Cpu": "4", "Container.3.Cpu": "2"}},
		{"KUBERNETES_SERVICE_CPU_REQUEST", "2", map[string]string{"Cpu": "4", "Container.3.Cpu": "2"}},
		{"ECI_SERVICE_MEMORY", "4Gi", map[string]string{"Memory": "8", "Container.3.Memory": "4"}},
		{"KUBERNETES_SERVICE_MEMORY_LIMIT", "4Gi", map[string]string{"Memory": "8", "Container.3.Memory": "4"}},
		{"KUBERNETES_SERVICE_MEMORY_REQUEST", "4Gi", map[string]string{"Memory": "8", "Container.3.Memory": "4"}},
		{"ECI_EPHEMERAL_STORAGE", "20", map[string]string{"EphemeralStorage": "20"}},
		{"ECI_EPHEMERAL_STORAGE", "20Gi", map[string]string{"EphemeralStorage": "20"}},
		{"KUBERNETES_EPHEMERAL_STORAGE_LIMIT", "50Gi", map[string]string{"EphemeralStorage": "20"}},
		{"KUBERNETES_EPHEMERAL_STORAGE_REQUEST", "10Gi", map[string]string{}},
		{"KUBERNETES_EPHEMERAL_STORAGE_LIMIT", "53687091200", map[string]string{"EphemeralStorage": "20"}},
		{"ECI_INSTANCE_TYPES", "2-4Gi, ecs.c6.large", map[string]string{"InstanceType": "2-4Gi,ecs.c6.large"}},
		{"ECI_SPOT", "as-price-go", map[string]string{"SpotStrategy": "SpotAsPriceGo", "SpotDuration": "1"}},
		{"ECI_RAM_ROLE", "deploy", map[string]string{"RamRoleName": "deploy"}},
		{"ECI_KEEP_ON_FAILURE", "30m", map[string]string{"ActiveDeadlineSeconds": "6000", "Tag.2.Value": "6000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			got, err := asking(t, permissive, map[string]string{tt.name: tt.value}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			cfg, err := config.Parse("test.toml", []byte(strict))
			if err != nil {
				t.Fatal(err)
			}
			job := someJob()
			job.variables = map[string]string{tt.name: tt.value}
			if _, lines, err := withOverwrites(cfg, job); err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], tt.name+" is ignored: [") {
				t.Errorf("where the runner leaves it to nobody: %q, %v", lines, err)
			}
			got, err = asking(t, strict, map[string]string{tt.name: tt.value}, nil)
			if diff := cmp.Diff(map[string]string{}, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// ECI's own names win over those of Kubernetes, a limit over a request, and a
// service's own variables over the job's.
func TestAskedTwice(t *testing.T) {
	variables := map[string]string{"ECI_CPU": "4", "KUBERNETES_CPU_LIMIT": "1", "KUBERNETES_MEMORY_LIMIT": "8Gi", "KUBERNETES_MEMORY_REQUEST": "1Gi", "ECI_SERVICE_CPU": "1"}
	got, err := asking(t, permissive, variables, func(j *Job) {
		j.Services[0].Variables = []Variable{{Key: "KUBERNETES_SERVICE_CPU_LIMIT", Value: "2"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got["Cpu"] != "6" || got["Memory"] != "8" || got["Container.3.Cpu"] != "2" {
		t.Errorf("got %v", got)
	}
}

func TestAskedTooMuch(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"ECI_CPU", "9", "is above the maximum of this runner, 8"},
		{"ECI_CPU", "2 vCPU", "is no number of vCPU"},
		{"ECI_CPU", "NaN", "is no number of vCPU"},
		{"KUBERNETES_CPU_REQUEST", "9000m", "is above the maximum"},
		{"ECI_MEMORY", "33GiB", "is above the maximum of this runner, 32 GiB"},
		{"ECI_MEMORY", "16", "has no unit"},
		{"ECI_MEMORY", "0Gi", "must be more than 0"},
		{"ECI_HELPER_MEMORY", "33GiB", "is above the maximum"},
		{"ECI_SERVICE_CPU", "9", "is above the maximum"},
		{"ECI_EPHEMERAL_STORAGE", "101", "is above the maximum"},
		{"ECI_EPHEMERAL_STORAGE", "some", "is no number of GiB"},
		{"KUBERNETES_EPHEMERAL_STORAGE_LIMIT", "131Gi", "is above the maximum of this runner, 130 GiB"},
		{"ECI_INSTANCE_TYPES", "ecs.g6.large", `names "ecs.g6.large", which is not allowed`},
		{"ECI_SPOT", "cheap", "is not allowed on this runner; allowed are none, as-price-go, price-limit"},
		{"ECI_SPOT", "price-limit", "needs a price_limit in [spot]"},
		{"ECI_RAM_ROLE", "deploy2", "is not allowed on this runner; allowed are deploy"},
		{"ECI_KEEP_ON_FAILURE", "61m", "is above the maximum of this runner, 1h0m0s"},
		{"ECI_KEEP_ON_FAILURE", "-1m", "is no duration"},
	}
	all := map[string]string{}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			_, err := asking(t, permissive, map[string]string{tt.name: tt.value}, nil)
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s %q %s", tt.name, tt.value, tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, isBuild := err.(*BuildError); !isBuild { //nolint:errorlint // it must be one itself
				t.Errorf("%T, want a *BuildError", err)
			}
		})
		if _, twice := all[tt.name]; !twice && !strings.HasPrefix(tt.name, "KUBERNETES_") {
			all[tt.name] = tt.value
		}
	}
	_, err := asking(t, permissive, all, func(j *Job) { j.Image.Name = "UPPER case" })
	for name := range maps.Keys(all) {
		if err == nil || !strings.Contains(err.Error(), name+" ") || !strings.Contains(err.Error(), "is not an image reference") {
			t.Errorf("not all mistakes are told at once, %s is missing: %v", name, err)
		}
	}
}

// A user that an image is to run as must be on the operator's list, to the letter.
func TestAskedUser(t *testing.T) {
	tests := []struct {
		name, user, driverFile string
		want                   map[string]string
		mistake                string
	}{
		{"uid", "1000", permissive, map[string]string{"Container.2.SecurityContext.RunAsUser": "1000"}, ""},
		{"uid and gid", "1000:100", permissive, map[string]string{"Container.2.SecurityContext.RunAsUser": "1000", "Container.2.SecurityContextRunAsGroup": "100"}, ""},
		{"another gid", "1000:0", permissive, nil, `user "1000:0" of image maven:3 is not allowed on this runner; allowed are 1000, 1000:100`},
		{"root", "0", permissive, nil, "is not allowed"},
		{"no list", "0", strict, map[string]string{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := asking(t, tt.driverFile, nil, func(j *Job) { j.Image.User = tt.user })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if (err != nil) != (tt.mistake != "") || err != nil && !strings.Contains(err.Error(), tt.mistake) {
				t.Errorf("error %v, want %q", err, tt.mistake)
			}
		})
	}
	got, err := asking(t, permissive, nil, func(j *Job) { j.Image.User, j.Image.DockerUser = "maven", true })
	if err != nil || len(got) != 0 {
		t.Errorf("a user for the Docker executor, who is not on the list, is not ignored: %v, %v", got, err)
	}
	cfg, err := config.Parse("test.toml", []byte(permissive))
	if err != nil {
		t.Fatal(err)
	}
	job := someJob()
	job.Image.User, job.Image.DockerUser = "maven", true
	want := []string{`the user "maven" of image maven:3 is ignored: [allow] users of this runner does not have it`}
	if _, lines, err := withOverwrites(cfg, job); err != nil || !slices.Equal(lines, want) {
		t.Errorf("told %q, %v, want %q", lines, err, want)
	}
	got, err = asking(t, permissive, nil, func(j *Job) { j.Services[0].User = "1000" })
	if err != nil || got["Container.3.SecurityContext.RunAsUser"] != "1000" {
		t.Errorf("of a service: %v, %v", got, err)
	}
}
