package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// runnerConfig is what differs between the runners of the tests.
type runnerConfig struct {
	URL        string // of the coordinator
	Concurrent int
	// Exec and Args make the call line of a stage: Exec Args... <stage>.
	Exec string
	Args []string
	// Grace is graceful_kill_timeout, in seconds.
	Grace int
	// Keys are lines of [[runners]], Tables of config.toml behind it.
	Keys, Tables string
}

// configTemplate is the runner's config.toml. Time stamps are off so that a
// trace can be compared byte for byte.
var configTemplate = template.Must(template.New("config.toml").Funcs(template.FuncMap{
	"quote": tomlString,
	"args": func(args []string, stage string) string {
		var quoted []string
		for _, a := range append(append([]string(nil), args...), stage) {
			quoted = append(quoted, tomlString(a))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	},
}).Parse(`concurrent = {{.Concurrent}}
check_interval = 1
shutdown_timeout = 60
[[runners]]
name = "e2e"
url = {{quote .URL}}
id = 1
token = "glrt-e2e-runner-token"
executor = "custom"
request_concurrency = {{.Concurrent}}
safe_directory_checkout = true
{{.Keys}}
[runners.feature_flags]
FF_TIMESTAMPS = false
[runners.custom]
config_exec = {{quote .Exec}}
config_args = {{args .Args "config"}}
config_exec_timeout = 30
prepare_exec = {{quote .Exec}}
prepare_args = {{args .Args "prepare"}}
prepare_exec_timeout = 120
run_exec = {{quote .Exec}}
run_args = {{args .Args "run"}}
cleanup_exec = {{quote .Exec}}
cleanup_args = {{args .Args "cleanup"}}
cleanup_exec_timeout = 60
graceful_kill_timeout = {{.Grace}}
force_kill_timeout = 10
{{.Tables}}
`))

// tomlString quotes s as a TOML literal string; paths of tests hold no quote.
func tomlString(s string) string { return "'" + s + "'" }

// runner is a running "gitlab-runner run".
type runner struct {
	cmd     *exec.Cmd
	logPath string
	exited  chan struct{} // closed once err is set
	err     error
}

// startRunner runs "gitlab-runner run" until the end of the test. There it is asked
// to finish its jobs first and killed after a minute.
func startRunner(t *testing.T, dir string, cfg runnerConfig, env ...string) *runner {
	t.Helper()
	binary := buildRunner(t)
	if cfg.Grace == 0 {
		cfg.Grace = 60
	}
	config, logPath := filepath.Join(dir, "config.toml"), filepath.Join(dir, "runner.log")
	var text strings.Builder
	if err := configTemplate.Execute(&text, cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	logFile, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close() // the process has its own copy

	cmd := exec.Command(binary, "run", "--config", config, "--working-directory", dir)
	// The name that scripts call, and nothing of the caller's configuration.
	cmd.Env = append([]string{
		"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "TMPDIR=" + dir,
	}, env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the runner: %v", err)
	}
	r := &runner{cmd: cmd, logPath: logPath, exited: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() {
		if err := r.finish(); err != nil {
			t.Errorf("the runner did not end well: %v\n%s", err, r.log())
		}
	})
	return r
}

// log is what the runner has logged so far.
func (r *runner) log() string {
	content, err := os.ReadFile(r.logPath)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// finish sends SIGQUIT, on which a runner takes no more jobs, waits for those it
// has and exits 0.
func (r *runner) finish() error {
	select {
	case <-r.exited:
		return r.err
	default:
	}
	return r.end(syscall.SIGQUIT)
}

// end sends a signal and returns how the runner ended; a minute later it is killed.
func (r *runner) end(signal syscall.Signal) error {
	if err := r.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-r.exited:
		return r.err
	case <-timer.C:
		err := r.cmd.Process.Kill()
		<-r.exited
		return fmt.Errorf("killed a minute after %v (kill: %v)", signal, err)
	}
}
