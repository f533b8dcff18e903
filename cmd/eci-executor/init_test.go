package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestInitialisation holds what happens before main, in each of a job's ten processes:
// no package of ours compiles a pattern or builds a table.
func TestInitialisation(t *testing.T) {
	command := exec.Command(os.Args[0])
	command.Args = []string{"eci-executor", "version"} // TestMain makes the test's binary that
	command.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	command.Stderr = &trace
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, trace.String())
	}
	const most = 50 // allocations of a package: a pattern takes 50 and more, one that is compiled later three
	ours := 0
	for line := range strings.Lines(trace.String()) {
		// init PACKAGE @2.5 ms, 0.007 ms clock, 288 bytes, 9 allocs
		words := strings.Fields(line)
		if len(words) != 11 || words[0] != "init" {
			continue
		}
		if allocations, err := strconv.Atoi(words[9]); strings.HasPrefix(words[1], "github.com/eci-executor/") {
			if ours++; err != nil || allocations > most {
				t.Errorf("%s makes %s allocations before main, want at most %d: %v", words[1], words[9], most, err)
			}
		}
	}
	if ours < 5 {
		t.Errorf("%d packages of ours are told of, want more:\n%s", ours, trace.String())
	}
}
