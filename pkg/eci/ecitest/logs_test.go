package ecitest_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func logs(t *testing.T, s *ecitest.Server, id string, more ...string) string {
	t.Helper()
	answer, code := call(t, s, "DescribeContainerLog", with(pairs("ContainerGroupId", id, "ContainerName", "build"), pairs(more...)))
	if code != "" {
		t.Fatal(code)
	}
	if answer["ContainerName"] != "build" {
		t.Errorf("container %v", answer["ContainerName"])
	}
	return answer["Content"].(string)
}

func TestDescribeContainerLog(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("echo out; exec sleep 60"))
	await(t, s, id, status("Running"))
	runTable(t, s, "DescribeContainerLog", pairs("ContainerGroupId", id, "ContainerName", "build"), []actionTest{
		{"all", nil, "200"},
		{"no id", pairs("ContainerGroupId", ""), "400 MissingParameter"},
		{"no container", pairs("ContainerName", ""), "400 MissingParameter"},
		{"unknown id", pairs("ContainerGroupId", "eci-none"), "404 InvalidParameter.NotFound"},
		{"id of another region", pairs("RegionId", "cn-hangzhou"), "404 InvalidParameter.NotFound"},
		{"unknown container", pairs("ContainerName", "none"), "404 InvalidParameter.NotFound"},
		{"2000 lines", pairs("Tail", "2000"), "200"},
		{"2001 lines", pairs("Tail", "2001"), "400 InvalidParameter"},
		{"no lines", pairs("Tail", "0"), "400 InvalidParameter"},
		{"1 MB", pairs("LimitBytes", "1048576"), "200"},
		{"more than 1 MB", pairs("LimitBytes", "1048577"), "400 InvalidParameter"},
		{"no bytes", pairs("LimitBytes", "0"), "400 InvalidParameter"},
		{"start time", pairs("StartTime", "2018-08-02T15:00:00Z"), "200"},
		{"start time not UTC", pairs("StartTime", "2018-08-02T15:00:00+08:00"), "400 InvalidParameter"},
		{"start time not RFC 3339", pairs("StartTime", "2018-08-02 15:00"), "400 InvalidParameter"},
		{"since 0 s", pairs("SinceSeconds", "0"), "400 InvalidParameter"},
		{"no instance before", pairs("LastTime", "true"), "400 InvalidParameter"},
	})
}

func TestLogContent(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo err >&2; printf end"))
	await(t, s, id, status("Succeeded"))
	lines := func(from int) string {
		var b strings.Builder
		for i := from; i <= 3000; i++ {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String() + "err\nend"
	}
	for _, tt := range []struct {
		name string
		more []string
		want string
	}{
		{"500 lines by default", nil, lines(2503)},
		{"2000 lines at most", []string{"Tail", "2000"}, lines(1003)},
		{"two lines", []string{"Tail", "2"}, "err\nend"},
		{"limited bytes are the oldest", []string{"Tail", "2", "LimitBytes", "5"}, "err\ne"},
		{"since long ago", []string{"Tail", "1", "SinceSeconds", "3600"}, "end"},
		{"since a time to come", []string{"StartTime", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := logs(t, s, id, tt.more...); got != tt.want {
				t.Errorf("%d bytes, want %d:\n%.200s", len(got), len(tt.want), got)
			}
		})
	}
	stamped := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z err\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z end$`)
	if got := logs(t, s, id, "Tail", "2", "Timestamps", "true"); !stamped.MatchString(got) {
		t.Errorf("%q", got)
	}
}

// A line without an end does not grow for ever, and none of it is lost.
func TestLogWithoutLines(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("head -c 1500000 /dev/zero | tr '\\0' x"))
	await(t, s, id, status("Succeeded"))
	if n := len(logs(t, s, id)); n != 1<<20 {
		t.Errorf("%d bytes, want 1 MiB", n)
	}
}

func TestLogOfRestarts(t *testing.T) {
	s := start(t, ecitest.Options{Delays: ecitest.Delays{Restart: time.Millisecond}})
	p := script("read n 2>/dev/null </data/n; n=$((n+1)); echo $n >/data/n; echo start $n; test $n -lt 2 || exec sleep 60",
		"RestartPolicy", "Always", "Volume.1.Name", "data", "Volume.1.Type", "EmptyDirVolume",
		"Container.1.VolumeMount.1.Name", "data", "Container.1.VolumeMount.1.MountPath", "/data")
	id := create(t, s, p)
	for logs := ""; logs != "start 2\n"; { // the second start comes at once
		answer, _ := call(t, s, "DescribeContainerLog", pairs("ContainerGroupId", id, "ContainerName", "build"))
		logs, _ = answer["Content"].(string)
	}
	if got := logs(t, s, id, "LastTime", "true"); got != "start 1\n" {
		t.Errorf("before: %q", got)
	}
}

func TestLogBeforeTheStart(t *testing.T) {
	s := start(t, ecitest.Options{Delays: ecitest.Delays{Pull: time.Hour}})
	id := create(t, s, script("echo one"))
	await(t, s, id, status("Pending"))
	runTable(t, s, "DescribeContainerLog", pairs("ContainerName", "build", "ContainerGroupId", id), []actionTest{{"pulling", nil, "400 IncorrectStatus"}})
}
