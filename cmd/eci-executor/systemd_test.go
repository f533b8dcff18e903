package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
)

const (
	reapService = "eci-executor-reap.service"
	reapTimer   = "eci-executor-reap.timer"
	installed   = "/usr/local/bin/eci-executor" // as in the README
)

// readUnit returns the options of a unit file by Section.Name.
func readUnit(t *testing.T, name string) (text []byte, options map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository("packaging/systemd"), name))
	if err != nil {
		t.Fatal(err)
	}
	list, err := unit.DeserializeOptions(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	options = map[string]string{}
	for _, o := range list {
		options[o.Section+"."+o.Name] = o.Value
	}
	return text, options
}

// What the timer calls is a command line that the program takes, and the service may
// write to state_dir, and where the docs have the textfile and the operator's log.
func TestReapUnits(t *testing.T) {
	_, service := readUnit(t, reapService)
	command := strings.Fields(service["Service.ExecStart"])
	if len(command) < 2 || command[0] != installed || service["Service.Type"] != "oneshot" {
		t.Fatalf("the service does not call %s: %v", installed, service)
	}
	writes := []string{"-" + config.Default().StateDir, documented(t, "eci-executor.toml.example", `"(/\S+)/\S+\.prom"`), documented(t, "docs/operating.md", `--log-file (/\S+)/\S+\.log`)}
	if diff := cmp.Diff(writes, strings.Fields(service["Service.ReadWritePaths"])); diff != "" {
		t.Errorf("where the driver writes (-) and the service may (+):\n%s", diff)
	}
	w := newKillWorld(t)
	if out, err := w.run(t, command[1:]...); err != nil || !strings.HasSuffix(out, "0 container groups left\n") {
		t.Errorf("%v: %v\n%s", command, err, out)
	}
	if out, err := w.run(t, append(command[1:], "--no-such-flag")...); err == nil {
		t.Errorf("any arguments are accepted:\n%s", out)
	}
	_, timer := readUnit(t, reapTimer)
	if timer["Timer.Unit"] != "" { // the service of the same name
		t.Errorf("the timer starts another service: %v", timer)
	}
	if timer["Install.WantedBy"] != "timers.target" || timer["Timer.OnBootSec"] == "" || timer["Timer.OnUnitInactiveSec"] == "" {
		t.Errorf("the timer never runs: %v", timer)
	}
}

// documented is a directory that a page has, as ReadWritePaths takes it.
func documented(t *testing.T, page, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(repository(page))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has nothing like %s", page, pattern)
	}
	return "-" + string(m[1])
}

// systemd's own opinion of the units, with this binary in the place of the
// installed one.
func TestReapUnitsBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files []string
	for _, name := range []string{reapService, reapTimer} {
		text, _ := readUnit(t, name)
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], bytes.ReplaceAll(text, []byte(installed), []byte(program)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, append([]string{"verify"}, files...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte(dir)) { // it warns of an unknown key by the file's name, and succeeds
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
