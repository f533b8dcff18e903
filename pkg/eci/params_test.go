package eci

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/requests anew")

// requests is shared with other packages, hence not this package's own testdata.
const requestsDir = "../../testdata/requests"

func minimalSpec() GroupSpec {
	return GroupSpec{
		Name: "ci-1-2-abc", ClientToken: "ci-1-2-abc-0", VSwitchIDs: []string{"vsw-a"},
		SecurityGroupID: "sg-1", CPU: 0.5, MemoryGiB: 1, RestartPolicy: "Never",
		Containers: []Container{{Name: "build", Image: "alpine:3.22", Command: []string{"/bin/sh", "-c", "true"}}},
	}
}

// fullSpec sets every field, so that a parameter that is lost or renamed shows.
func fullSpec() GroupSpec {
	root, group := int64(0), int64(1000)
	return GroupSpec{
		Name: "ci-42-1000-full", ClientToken: "ci-42-1000-full-1",
		VSwitchIDs: []string{"vsw-a", "vsw-b"}, ScheduleStrategy: "VSwitchRandom",
		SecurityGroupID: "sg-1", ResourceGroupID: "rg-1", RAMRole: "ci-job",
		CPU: 2.5, MemoryGiB: 4.25, InstanceTypes: []string{"ecs.c6.large", "2-4Gi"}, CPUArchitecture: "AMD64",
		EphemeralStorageGiB: 20, SpotStrategy: "SpotWithPriceLimit", SpotPriceLimit: 0.125, SpotDuration: 1,
		RestartPolicy: "Never", ActiveDeadlineSeconds: 7200, TerminationGracePeriodSeconds: 30,
		AutoMatchImageCache: true, ImageSnapshotID: "imc-1",
		PlainHTTPRegistries: []string{"10.0.0.1:5000", "10.0.0.2:5000"}, InsecureRegistries: []string{"reg.test"},
		RegistryCredentials: []RegistryCredential{{"reg.test", "robot", "pull-pass"}, {"hub.test", "bob", "hub-pass"}},
		ACRRegistries:       []ACRRegistry{{"cri-1", "ap-northeast-1", []string{"acr.test", "acr-vpc.test"}}},
		AutoCreateEIP:       true, EIPBandwidth: 10, EIPID: "eip-1", EIPBandwidthPackage: "cbwp-1",
		DNSServers:  []string{"10.0.0.53", "10.0.1.53"},
		HostAliases: []HostAlias{{"10.0.0.9", []string{"gitlab.test", "reg.test"}}},
		Sysctls:     map[string]string{"net.core.somaxconn": "1024", "kernel.shm_rmid_forced": "1"},
		Tags:        map[string]string{"runner": "r1", "job": "1000", "project": "a/b"},
		Containers: []Container{
			{
				Name: "build", Image: "maven:3.9", PullPolicy: "IfNotPresent", WorkingDir: "/builds",
				Command: []string{"/bin/sh", "-c"}, Args: []string{"echo $A & exit"},
				Env:     []EnvVar{{"A", "job-secret"}, {"EMPTY", ""}, {"B", "line 1\nline 2"}},
				HideEnv: true, CPU: 2, MemoryGiB: 3.5, GPU: 2, Stdin: true, RunAsUser: &root, RunAsGroup: &group,
				Capabilities: []string{"NET_ADMIN", "SYS_PTRACE"}, TerminationMessagePath: "/dev/termination-log",
				VolumeMounts: []VolumeMount{{"nas", "/cache", "p1", false}, {"boot", "/eci", "", true}},
			},
			{
				Name: "helper", Image: "helper:1", PullPolicy: "Always", Args: []string{"sleep", "inf"},
				VolumeMounts: []VolumeMount{{"nfs", "/builds", "p1/j1", false}},
			},
			{
				Name: "postgres", Image: "postgres:17", PullPolicy: "Never",
				Env: []EnvVar{{"POSTGRES_PASSWORD", "db-pass"}}, CPU: 0.5, MemoryGiB: 0.75, Privileged: true,
				VolumeMounts: []VolumeMount{{"shm", "/dev/shm", "", false}},
			},
		},
		Volumes: []Volume{
			{Name: "nas", Flex: &Flex{"alicloud/nas", map[string]string{
				"server": "1-a.ap-northeast-1.nas.test", "path": "/ci", "vers": "3", "options": "nolock,tcp,noresvport"}}},
			{Name: "nfs", NFS: &NFS{"2-b.ap-northeast-1.nas.test", "/share", true}},
			{Name: "shm", EmptyDir: &EmptyDir{"Memory", "256Mi"}},
			{Name: "boot", ConfigFile: &ConfigFile{[]File{{"bin/boot", []byte("#!/bin/sh\necho boot\n")}, {"ca.crt", []byte{0xff, 0}}}}},
		},
		Extra: map[string]string{"EphemeralStorage": "40", "Container.1.Stdin": "true"},
	}
}

// TestParamsGolden shows a person which request a spec becomes; a change of a
// name on the wire can't slip through.
func TestParamsGolden(t *testing.T) {
	for name, spec := range map[string]GroupSpec{"minimal": minimalSpec(), "full": fullSpec()} {
		t.Run(name, func(t *testing.T) {
			params := spec.Params()
			var b strings.Builder
			for _, key := range slices.Sorted(maps.Keys(params)) {
				fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(params[key], "\n", `\n`))
			}
			file := filepath.Join(requestsDir, name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), b.String()); d != "" {
				t.Errorf("parameters differ from %s (-want +got), -update accepts them:\n%s", file, d)
			}
		})
	}
}

// TestParamsDeterministic: a repeated call with the same client token must be
// the same call, or ECI answers IdempotentParameterMismatch.
func TestParamsDeterministic(t *testing.T) {
	want := fullSpec().Params()
	for i := range 100 {
		if d := cmp.Diff(want, fullSpec().Params()); d != "" {
			t.Fatalf("call %d differs (-first +now):\n%s", i, d)
		}
	}
}

// TestParamsValues holds what is easily wrong: what is left out and what is not.
func TestParamsValues(t *testing.T) {
	zero := int64(0)
	tests := []struct {
		name   string
		spec   GroupSpec
		want   Params
		absent []string
	}{
		{name: "nothing set sends nothing", spec: GroupSpec{}, absent: []string{""}},
		{name: "user 0 is sent", spec: GroupSpec{Containers: []Container{{RunAsUser: &zero}}},
			want: Params{"Container.1.SecurityContext.RunAsUser": "0"}, absent: []string{"Container.1.SecurityContextRunAsGroup"}},
		{name: "an empty variable keeps its key", spec: GroupSpec{Containers: []Container{{Env: []EnvVar{{"A", ""}, {"B", "b"}}}}},
			want:   Params{"Container.1.EnvironmentVar.1.Key": "A", "Container.1.EnvironmentVar.2.Value": "b"},
			absent: []string{"Container.1.EnvironmentVar.1.Value"}},
		{name: "hiding no variables is nothing", spec: GroupSpec{Containers: []Container{{Name: "a", HideEnv: true}}},
			absent: []string{"Container.1.EnvironmentVarHide"}},
		{name: "tags without a value leave no gap", spec: GroupSpec{Tags: map[string]string{"a": "", "b": "2", "c": "", "d": "4"}},
			want:   Params{"Tag.1.Key": "b", "Tag.1.Value": "2", "Tag.2.Key": "d", "Tag.2.Value": "4"},
			absent: []string{"Tag.3.Key", "Tag.4.Key"}},
		{name: "spot without protection says 0", spec: GroupSpec{SpotStrategy: "SpotAsPriceGo"},
			want: Params{"SpotDuration": "0"}, absent: []string{"SpotPriceLimit"}},
		{name: "no spot sends no duration", spec: GroupSpec{SpotDuration: 1, SpotPriceLimit: 2},
			absent: []string{"SpotDuration", "SpotPriceLimit"}},
		{name: "extra wins", spec: GroupSpec{CPU: 2, Extra: map[string]string{"Cpu": "4", "New": "x"}},
			want: Params{"Cpu": "4", "New": "x"}},
		{name: "small and large numbers have no exponent", spec: GroupSpec{CPU: 1000000, SpotStrategy: "x", SpotPriceLimit: 0.0000001},
			want: Params{"Cpu": "1000000", "SpotPriceLimit": "0.0000001"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.spec.Params()
			for key, value := range tt.want {
				if got[key] != value {
					t.Errorf("%s = %q, want %q", key, got[key], value)
				}
			}
			for _, key := range tt.absent {
				if v, ok := got[key]; ok {
					t.Errorf("%s = %q is sent", key, v)
				}
			}
			for key, value := range got {
				if value == "" || key == "" {
					t.Errorf("the empty parameter %q=%q is sent", key, value)
				}
			}
			if tt.name == "nothing set sends nothing" && len(got) != 0 {
				t.Errorf("sent %v", got)
			}
		})
	}
}

// TestRedacted: what is shown to people and written to logs holds no secret, in
// plain or in base64, and still every name.
func TestRedacted(t *testing.T) {
	params := fullSpec().Params()
	shown := params.Redacted()
	if d := cmp.Diff(slices.Sorted(maps.Keys(params)), slices.Sorted(maps.Keys(shown))); d != "" {
		t.Errorf("names differ (-sent +shown):\n%s", d)
	}
	text := fmt.Sprint(shown)
	boot := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho boot\n"))
	for _, secret := range []string{"pull-pass", "hub-pass", "job-secret", "line 1", "db-pass", boot} {
		if !strings.Contains(fmt.Sprint(params), secret) {
			t.Errorf("%q is not even sent", secret)
		}
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	for _, key := range []string{"ImageRegistryCredential.1.UserName", "Container.1.EnvironmentVar.1.Key", "VSwitchId"} {
		if shown[key] != params[key] {
			t.Errorf("%s is shown as %q, want %q", key, shown[key], params[key])
		}
	}
}
