package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/eci-executor/eci-executor/internal/testneed"
)

// The commands of docs/operating.md for a job's stages by hand run as they stand.
func TestStagesByHand(t *testing.T) {
	_, err := exec.LookPath("bash")
	testneed.Need(t, err)
	page, err := os.ReadFile(filepath.Join(repository("docs"), "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "## A job's stages by hand")
	_, block, _ = strings.Cut(block, "```sh\n")
	block, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("docs/operating.md has no such block")
	}
	s := startSim(t, "--image", "host")
	dir := filepath.Dir(s.file) // where it is eci-executor.toml
	job, err := os.ReadFile(filepath.Join(repository("testdata"), "jobs", "simple.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "job.json"), job, 0o600); err != nil {
		t.Fatal(err)
	}
	bash := exec.Command("bash", "-ex", "-c", block)
	bash.Dir = dir
	out, err := bash.CombinedOutput()
	if err != nil || strings.Count(string(out), "\nhello from eci-") != 2 || !strings.Contains(string(out), "\n0 container groups left\n") {
		t.Errorf("%v:\n%s", err, out)
	}
	// How many are still ending, as cleanup does not wait for them, nobody knows.
	if text, err := s.end(t, syscall.SIGINT); err != nil || !strings.HasSuffix(text, "\n# 0 container groups left\n") {
		t.Errorf("%v: %q", err, text)
	}
}
