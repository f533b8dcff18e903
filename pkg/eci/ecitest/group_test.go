package ecitest_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestGroupEnds(t *testing.T) {
	tests := []struct {
		name, script, status, reason string
		exit                         float64
		message                      string
	}{
		{"success", "exit 0", "Succeeded", "Completed", 0, ""},
		{"failure with a message", "echo why >/dev/termination-log; exit 3", "Failed", "Error", 3, "why\n"},
		{"killed", "kill -KILL $$; exec sleep 0.1", "Succeeded", "Completed", 0, ""}, // PID 1 can't kill itself
	}
	s := start(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := await(t, s, create(t, s, script(tt.script)), status(tt.status))
			c := state(g, 0)
			if c["State"] != "Terminated" || c["Reason"] != tt.reason || c["ExitCode"] != tt.exit || c["Message"] != tt.message {
				t.Errorf("state %v", c)
			}
		})
	}
	if live := s.Live(); len(live) != 0 {
		t.Errorf("live: %v", live)
	}
}

func TestDeleteFollowsPID1Rules(t *testing.T) {
	tests := []struct {
		name, script string
		force        bool
		grace        string // in seconds; of the ones that are to end before it, longer than await waits
		least        time.Duration
	}{
		{"a trap ends at once", "trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.01; done", false, "600", 0},
		{"no trap waits for the grace period", "touch /tmp/ready; exec sleep 600", false, "1", 900 * time.Millisecond},
		{"force does not", "touch /tmp/ready; exec sleep 600", true, "600", 0},
	}
	s := start(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := create(t, s, script(tt.script, "TerminationGracePeriodSeconds", tt.grace))
			await(t, s, id, status("Running"))
			// Running says that PID 1 was exec'd, not that it has set its trap.
			execURI(t, s, id, map[string]string{"Sync": "true"}, "/bin/sh", "-c", "until test -e /tmp/ready; do sleep 0.01; done")
			begun := time.Now()
			for range 2 { // twice is success
				if _, code := call(t, s, "DeleteContainerGroup", map[string]string{"ContainerGroupId": id, "Force": fmt.Sprint(tt.force)}); code != "" {
					t.Fatal(code)
				}
			}
			await(t, s, id, func(g map[string]any) bool { return g == nil })
			if took := time.Since(begun); took < tt.least {
				t.Errorf("gone after %s, want %s at least", took, tt.least)
			}
		})
	}
}

// TestForceCutsAGracePeriodShort: also one that has begun.
func TestForceCutsAGracePeriodShort(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("exec sleep 1000", "TerminationGracePeriodSeconds", "600"))
	await(t, s, id, status("Running"))
	if _, code := call(t, s, "DeleteContainerGroup", map[string]string{"ContainerGroupId": id}); code != "" {
		t.Fatal(code)
	}
	await(t, s, id, status("Terminating"))
	if err := s.DeleteGroup(id); err != nil {
		t.Fatal(err)
	}
	await(t, s, id, func(g map[string]any) bool { return g == nil })
}

func TestPullFails(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("exit 0", "Container.1.Image", "nowhere.example/x:1"))
	g := await(t, s, id, func(g map[string]any) bool { return state(g, 0)["Reason"] == "ImagePullBackOff" })
	if g["Status"] != "Pending" {
		t.Errorf("status %v", g["Status"])
	}
	if text := fmt.Sprint(g["Events"]); !strings.Contains(text, `Failed to pull image "nowhere.example/x:1"`) || !strings.Contains(text, "not found") {
		t.Errorf("events %s", text)
	}
}

func TestRestart(t *testing.T) {
	s := start(t, ecitest.Options{Delays: ecitest.Delays{Restart: time.Millisecond}})
	id := create(t, s, script("exit 1", "RestartPolicy", "Always"))
	await(t, s, id, func(g map[string]any) bool {
		return g["Containers"].([]any)[0].(map[string]any)["RestartCount"].(float64) >= 2
	})
	if len(s.Live()) != 1 {
		t.Errorf("live: %v", s.Live())
	}
}

func TestDeadline(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("exec sleep 60", "ActiveDeadlineSeconds", "1", "TerminationGracePeriodSeconds", "0"))
	await(t, s, id, status("Failed"))
}

func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	s := start(t, ecitest.Options{Dir: dir})
	p := script("cat /conf/a/b >/cache/out && until test -p /mem/fifo; do sleep 0.01; done && read x </mem/fifo && echo $x >>/cache/out && id -u >>/cache/out && ! touch /ro/x 2>/dev/null",
		"Volume.1.Name", "conf", "Volume.1.Type", "ConfigFileVolume",
		"Volume.1.ConfigFileVolume.ConfigFileToPath.1.Path", "a/b",
		"Volume.1.ConfigFileVolume.ConfigFileToPath.1.Content", base64.StdEncoding.EncodeToString([]byte("config\n")),
		"Volume.2.Name", "nas", "Volume.2.Type", "FlexVolume", "Volume.2.FlexVolume.Driver", "alicloud/nas",
		"Volume.2.FlexVolume.Options", `{"server":"nas.example","path":"/ci","vers":"3","options":"nolock"}`,
		"Volume.3.Name", "mem", "Volume.3.Type", "EmptyDirVolume", "Volume.3.EmptyDirVolume.Medium", "Memory",
		"Volume.3.EmptyDirVolume.SizeLimit", "16Mi",
		"Container.2.VolumeMount.1.Name", "conf", "Container.2.VolumeMount.1.MountPath", "/conf",
		"Container.2.VolumeMount.2.Name", "nas", "Container.2.VolumeMount.2.MountPath", "/cache", "Container.2.VolumeMount.2.SubPath", "p/1",
		"Container.2.VolumeMount.3.Name", "mem", "Container.2.VolumeMount.3.MountPath", "/mem",
		"Container.2.VolumeMount.4.Name", "nas", "Container.2.VolumeMount.4.MountPath", "/ro", "Container.2.VolumeMount.4.ReadOnly", "true",
	)
	for _, key := range []string{"Name", "Image", "Command.1", "Command.2", "Command.3"} { // the second container reads what the first writes
		p["Container.2."+key] = p["Container.1."+key]
	}
	p["Container.1.Name"], p["Container.1.Command.3"] = "helper", "mkfifo -m 666 /mem/fifo && echo shared >/mem/fifo"
	p["Container.1.VolumeMount.1.Name"], p["Container.1.VolumeMount.1.MountPath"] = "mem", "/mem"
	id := create(t, s, p)
	g := await(t, s, id, func(g map[string]any) bool { return g["Status"] == "Succeeded" || g["Status"] == "Failed" })
	got, err := os.ReadFile(filepath.Join(s.NASDir("nas.example", "/ci"), "p/1/out"))
	if err != nil || string(got) != "config\nshared\n0\n" || g["Status"] != "Succeeded" {
		t.Errorf("%q, %v, %v", got, err, g)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nas/_nas.example/ci/p/1/out")); err != nil {
		t.Errorf("the NAS directory did not outlive the server: %v", err)
	}
}
