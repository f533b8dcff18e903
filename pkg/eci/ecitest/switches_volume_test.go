package ecitest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/passthrough"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// volumeSwitchTests are those of volumes, and of what a container may do.
func volumeSwitchTests() []switchTest {
	return []switchTest{
		{
			thrown: ecitest.Switches{NFSMissingPathCreated: true}, off: "FailedMount", on: "Running",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "Volume.1.Name", "n", "Volume.1.Type", "NFSVolume",
					"Volume.1.NFSVolume.Server", "nas.example", "Volume.1.NFSVolume.Path", "/absent"))
				g := await(t, s, id, func(g map[string]any) bool {
					return g["Status"] == "Running" || strings.Contains(fmt.Sprint(g["Events"]), "FailedMount")
				})
				if g["Status"] == "Running" {
					return "Running"
				}
				return "FailedMount"
			},
		},
		{
			thrown: ecitest.Switches{EmptyDirClosed: true}, off: "777 777\n", on: "755 755\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "Volume.1.Name", "disk", "Volume.1.Type", "EmptyDirVolume",
					"Volume.2.Name", "memory", "Volume.2.Type", "EmptyDirVolume", "Volume.2.EmptyDirVolume.Medium", "Memory",
					"Container.1.VolumeMount.1.Name", "disk", "Container.1.VolumeMount.1.MountPath", "/disk",
					"Container.1.VolumeMount.2.Name", "memory", "Container.1.VolumeMount.2.MountPath", "/memory"))
				await(t, s, id, status("Running"))
				return syncOutput(t, s, id, "echo $(stat -c %a /disk /memory)")
			},
		},
		{thrown: ecitest.Switches{MissingSubPath: ecitest.SubPathOpen}, look: missingSubPath, off: "755", on: "777"},
		{
			thrown: ecitest.Switches{MissingSubPath: ecitest.SubPathRefused}, look: missingSubPath, off: "755",
			on: `CreateContainerConfigError: failed to prepare subPath for volumeMount "nas" of container "build"`,
		},
		{
			thrown: ecitest.Switches{FlexVolumeRO: true}, off: "written\n", on: "read-only\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", "Volume.1.Name", "nas", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas",
					"Volume.1.FlexVolume.Options", `{"server":"nas.example","path":"/","options":"nolock,ro"}`,
					"Container.1.VolumeMount.1.Name", "nas", "Container.1.VolumeMount.1.MountPath", "/nas"))
				await(t, s, id, status("Running"))
				return syncOutput(t, s, id, "touch /nas/file 2>/dev/null && echo written || echo read-only")
			},
		},
		{
			thrown: ecitest.Switches{OSSOptionsRefused: true}, off: "one\n", on: "InvalidParameter",
			look: func(t *testing.T, s *ecitest.Server) string {
				file := filepath.Join(s.OSSDir("models"), "sub", "file")
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte("one\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				p := script("exec sleep 60", "Volume.1.Name", "oss", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/oss",
					"Volume.1.FlexVolume.Options", `{"bucket":"models","url":"oss.example","path":"sub"}`,
					"Container.1.VolumeMount.1.Name", "oss", "Container.1.VolumeMount.1.MountPath", "/oss")
				if _, code := call(t, s, "CreateContainerGroup", with(p, pairs("DryRun", "true"))); code != "DryRunOperation" {
					return code
				}
				id := create(t, s, p)
				await(t, s, id, status("Running"))
				return syncOutput(t, s, id, "cat /oss/file")
			},
		},
		{
			thrown: ecitest.Switches{MemoryDirSize: 64 << 10}, off: "written\n", on: "full\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("exec sleep 60", memoryDir()...))
				await(t, s, id, status("Running"))
				return syncOutput(t, s, id, "head -c 70000 /dev/zero 2>/dev/null >/memory/file && echo written || echo full")
			},
		},
		{thrown: ecitest.Switches{MemoryDirUncounted: true}, look: memoryOfADir, off: "OOMKilled", on: "Completed"},
		{thrown: ecitest.Switches{FIFOsApart: true}, look: fifoBetweenContainers, off: "through\n", on: "apart\n"},
		{
			thrown: ecitest.Switches{RootlessBuilds: true}, off: "refused\n", on: "mounted fuse\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				needFUSE(t)
				return syncOutput(t, s, running(t, s), `echo $(unshare -Urm sh -c "mount -t tmpfs none /mnt && echo mounted" 2>/dev/null || echo refused) $(test -c /dev/fuse && echo fuse)`)
			},
		},
	}
}

// memoryDir is an EmptyDir in memory, mounted on /memory of the first container.
func memoryDir(more ...string) []string {
	return append([]string{"Volume.1.Name", "memory", "Volume.1.Type", "EmptyDirVolume", "Volume.1.EmptyDirVolume.Medium", "Memory",
		"Container.1.VolumeMount.1.Name", "memory", "Container.1.VolumeMount.1.MountPath", "/memory"}, more...)
}

// missingSubPath is the mode of a SubPath that was not there, or why there is none.
func missingSubPath(t *testing.T, s *ecitest.Server) string {
	id := create(t, s, script("exec sleep 60", "Volume.1.Name", "nas", "Volume.1.Type", "FlexVolume", "Volume.1.FlexVolume.Driver", "alicloud/nas",
		"Volume.1.FlexVolume.Options", `{"server":"nas.example","path":"/"}`, "Container.1.VolumeMount.1.Name", "nas",
		"Container.1.VolumeMount.1.MountPath", "/nas", "Container.1.VolumeMount.1.SubPath", "a/b"))
	g := await(t, s, id, func(g map[string]any) bool {
		return g["Status"] == "Running" || state(g, 0)["Reason"] == "CreateContainerConfigError"
	})
	if g["Status"] != "Running" {
		c := state(g, 0)
		if events := fmt.Sprint(g["Events"]); !strings.Contains(events, fmt.Sprint("Error: ", c["Message"])) {
			t.Errorf("events %s", events)
		}
		return fmt.Sprint(c["Reason"], ": ", c["Message"])
	}
	return strings.TrimSpace(syncOutput(t, s, id, "stat -c %a /nas"))
}

// memoryOfADir is how a container ends that fills a directory in memory with twice
// the memory that it may have.
func memoryOfADir(t *testing.T, s *ecitest.Server) string {
	needFUSE(t)
	id := create(t, s, script("exec sleep 60", memoryDir("Cpu", "2", "Memory", "4", "Container.1.Memory", "0.03125",
		"Container.1.Command.3", eatWhereLimited("exec head -c 64M /dev/zero >/memory/file"))...))
	g := await(t, s, id, func(g map[string]any) bool { return state(g, 0)["State"] == "Terminated" })
	if state(g, 0)["ExitCode"] == 55.0 {
		skipWithoutMemoryCgroup(t)
	}
	return state(g, 0)["Reason"].(string)
}

// fifoBetweenContainers looks at what one container's FIFO is to another.
func fifoBetweenContainers(t *testing.T, s *ecitest.Server) string {
	needFUSE(t)
	id := create(t, s, script("mkfifo /memory/fifo && exec 3<>/memory/fifo && echo through >&3 && true >/memory/ready && exec sleep 60",
		memoryDir("Container.2.Name", "other", "Container.2.Image", "host", "Container.2.Command.1", "sleep", "Container.2.Command.2", "60",
			"Container.2.VolumeMount.1.Name", "memory", "Container.2.VolumeMount.1.MountPath", "/shared")...))
	await(t, s, id, status("Running"))
	look := "until [ -e /shared/ready ]; do sleep 0.01; done; [ -p /shared/fifo ] && { timeout 1 head -n 1 <>/shared/fifo || echo apart; }"
	return execURI(t, s, id, map[string]string{"Sync": "true", "ContainerName": "other"}, "/bin/sh", "-c", look)["SyncResponse"].(string)
}

// needFUSE skips, in CI too: FUSE is the machine's, there is nothing to install.
func needFUSE(t *testing.T) {
	t.Helper()
	if err := passthrough.Supported(); err != nil {
		t.Skip(err)
	}
}
