package ecitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// eatWhereLimited ends the shell's child, or itself with "exec", by the container's
// limit of 32 MiB, and exits 55 where there is none to meet.
func eatWhereLimited(how string) string {
	return `for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
		test "$(cat $f 2>/dev/null)" = 33554432 && limited=yes
	done; test "$limited" || exit 55; ` + how
}

// A process that is killed for memory is told by an event whether it was a child,
// with which the container goes on, or the container's own.
func TestOutOfMemory(t *testing.T) {
	s := start(t, ecitest.Options{})
	for _, tt := range []struct {
		name, script  string
		state, reason string
		exit          float64
		log           string
	}{
		{"a child", "tail /dev/zero; echo goes on with $?; exec sleep 60", "Running", "", 0, "goes on with 137\n"},
		{"a child, and the script fails", "tail /dev/zero; exit 3", "Terminated", "OOMKilled", 3, ""},
		{"the container", "exec tail /dev/zero", "Terminated", "OOMKilled", 137, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := create(t, s, script(eatWhereLimited(tt.script), "Cpu", "2", "Memory", "4", "Container.1.Memory", "0.03125"))
			g := await(t, s, id, func(g map[string]any) bool {
				c := state(g, 0)
				return c["State"] == "Terminated" || tt.state == "Running" && c["State"] == "Running" && strings.Contains(fmt.Sprint(g["Events"]), "Reason:OOMKilled")
			})
			c := state(g, 0)
			if c["ExitCode"] == 55.0 {
				skipWithoutMemoryCgroup(t)
			}
			if c["State"] != tt.state || c["Reason"] != tt.reason || c["ExitCode"] != tt.exit {
				t.Errorf("state %v", c)
			}
			if events := fmt.Sprint(g["Events"]); !strings.Contains(events, "a process of container build was killed Name:build Reason:OOMKilled Type:Warning") {
				t.Errorf("events %s", events)
			}
			if tt.log != "" {
				await(t, s, id, func(map[string]any) bool { return strings.HasSuffix(logs(t, s, id), tt.log) })
			}
		})
	}
}

// What listens on a port of the system fails in the container.
func TestSystemPorts(t *testing.T) {
	s := start(t, ecitest.Options{})
	// Perl stands in for a service, as every Debian has it.
	id := create(t, s, script(`perl -MIO::Socket::INET -e 'for $p (10250, 111, 10255, 10251) {
		print "$p ", (IO::Socket::INET->new(LocalPort => $p, Listen => 1) ? "free" : "taken"), "\n" }'`))
	await(t, s, id, status("Succeeded"))
	if got := logs(t, s, id); got != "10250 taken\n111 taken\n10255 taken\n10251 free\n" {
		t.Errorf("log %q", got)
	}
}
