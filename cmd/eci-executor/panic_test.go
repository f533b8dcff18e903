package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// panicking is a stdout that shows a mistake of the driver's own.
type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("a hole in the driver") }

// A mistake of the driver's own is a system failure with a sentence; the stack is the
// operator's alone.
func TestNoStackInTheJobsLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "operator.log")
	var stderr bytes.Buffer
	status := run(context.Background(), process{args: []string{"eci-executor", "--log-file", log, "version"},
		environ: []string{"SYSTEM_FAILURE_EXIT_CODE=42"}, stdin: strings.NewReader(""), stdout: panicking{}, stderr: &stderr})
	if said := stderr.String(); status != 42 || !strings.Contains(said, "a mistake in the driver itself has ended it (a hole in the driver)") ||
		strings.Contains(said, "goroutine") || strings.Contains(said, ".go:") {
		t.Errorf("status %d, and said %s", status, said)
	}
	if lines, err := os.ReadFile(log); err != nil || !bytes.Contains(lines, []byte("panic_test.go")) {
		t.Errorf("the operator's log has no stack: %v, %s", err, lines)
	}
}
