package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// broken lists the relations of the example that do not hold after a change to it.
func broken(t *testing.T, change func(*RunnerFile, *Runner)) []string {
	t.Helper()
	file, r := strictRunner(t)
	change(file, r)
	var names []string
	for _, relation := range Relations(file, r, Default(), DefaultPath, "eci-executor") {
		if !relation.Holds {
			names = append(names, relation.Name)
		}
		if relation.Fix == "" {
			t.Errorf("%s: nothing says what to do", relation.Name)
		}
	}
	return names
}

func TestRelationsThatDoNotHold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*RunnerFile, *Runner)
		want   string // beginnings, joined by |; "" = all hold
	}{
		{"the example", func(*RunnerFile, *Runner) {}, ""},
		{"another executor", func(_ *RunnerFile, r *Runner) { r.Executor = "shell" }, `executor = "custom"`},
		{"the example's token", func(_ *RunnerFile, r *Runner) { r.Token = exampleToken }, "url and token"},
		{"no url", func(_ *RunnerFile, r *Runner) { r.URL = "" }, "url and token"},
		{"no run_exec", func(_ *RunnerFile, r *Runner) { r.Custom.RunExec = "" }, "run_exec is"},
		{"a relative program", func(_ *RunnerFile, r *Runner) { r.Custom.ConfigExec = "eci-executor" }, "config_exec is"},
		{"stages mixed up", func(_ *RunnerFile, r *Runner) { r.Custom.RunArgs = r.Custom.CleanupArgs }, "run_args end"},
		{"another driver's file", func(_ *RunnerFile, r *Runner) { r.Custom.PrepareArgs = []string{"--config", "/other.toml", "prepare"} }, "prepare_args end"},
		{"the file by its default", func(_ *RunnerFile, r *Runner) { r.Custom.PrepareArgs = []string{"prepare"} }, ""},
		{"the file with an equals sign", func(_ *RunnerFile, r *Runner) { r.Custom.PrepareArgs = []string{"-config=" + DefaultPath, "prepare"} }, ""},
		{"another builds_dir", func(_ *RunnerFile, r *Runner) { r.BuildsDir = "/work" }, "builds_dir is"},
		{"no builds_dir", func(_ *RunnerFile, r *Runner) { r.BuildsDir = "" }, ""},
		{"no safe directory", func(_ *RunnerFile, r *Runner) { r.SafeDirectoryCheckout = false }, "safe_directory_checkout"},
		{"prepare too short", func(_ *RunnerFile, r *Runner) { r.Custom.PrepareExecTimeout = 630 }, "prepare_exec_timeout >"},
		{"prepare by default", func(_ *RunnerFile, r *Runner) { r.Custom.PrepareExecTimeout = 0 }, ""},
		{"cleanup too short", func(_ *RunnerFile, r *Runner) { r.Custom.CleanupExecTimeout = 30 }, "cleanup_exec_timeout >"},
		{"kill too soon", func(_ *RunnerFile, r *Runner) { r.Custom.GracefulKillTimeout = 10 }, "30 s <= graceful"},
		{"kill by default", func(_ *RunnerFile, r *Runner) { r.Custom.GracefulKillTimeout = 0 }, "30 s <= graceful|shutdown_timeout >"},
		{"shutdown by default", func(f *RunnerFile, _ *Runner) { f.ShutdownTimeout = 0 }, "shutdown_timeout >"},
		{"prepare_timeout", func(_ *RunnerFile, r *Runner) { r.PrepareTimeout = "5m" }, "prepare_timeout >"},
		{"prepare_timeout of nothing", func(_ *RunnerFile, r *Runner) { r.PrepareTimeout = "0s" }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := broken(t, tt.change)
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, "|")
			}
			if len(got) != len(want) {
				t.Fatalf("broken %q, want %q", got, want)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("broken %q, want %q", got, want)
				}
			}
		})
	}
}

func TestLoadRunner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("concurrent = 4\n[session_server]\nsession_timeout = 1800\n" +
		"[[runners]]\nexecutor = \"docker\"\n" +
		"[[runners]]\nexecutor = \"custom\"\nlimit = 3\n[runners.custom]\nrun_exec = \"/opt/eci-executor\"\n" +
		"[[runners]]\nexecutor = \"custom\"\n[runners.custom]\nrun_exec = \"/opt/other\"\n")
	file, err := LoadRunner(path)
	if err != nil {
		t.Fatal(err)
	}
	ours := file.Ours("eci-executor")
	if len(ours) != 1 || ours[0] != &file.Runners[1] || file.JobsOf(ours[0]) != 3 || file.Jobs() != 4 {
		t.Errorf("ours %v of %+v", ours, file)
	}
	for _, text := range []string{"concurrent = 4\ntoken = \"glrt-secret\" oops\n", "concurrent = \"glrt-secret\"\n"} {
		write(text)
		_, err := LoadRunner(path)
		if err == nil || strings.Contains(err.Error(), "glrt-secret") || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
