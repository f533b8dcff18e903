package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// runJob calls the stages of one job as a runner does: each a process of its
// own, with the contract's environment. Like a runner, it cleans up in any case.
func (d *demo) runJob(ctx context.Context, job string) error {
	d.printf("\n--- job %s\n", job)
	scripts, err := d.scripts(job)
	if err != nil {
		return err
	}
	env := d.stageEnv(job)
	var document bytes.Buffer
	if err := d.stage(ctx, "config", env, &document); err != nil {
		return err
	}
	var config struct {
		JobEnv map[string]string `json:"job_env"`
	}
	if err := json.Unmarshal(document.Bytes(), &config); err != nil {
		return fmt.Errorf("the config stage did not print one JSON document: %w", err)
	}
	for key, value := range config.JobEnv {
		env = append(env, key+"="+value)
	}
	err = d.stage(ctx, "prepare", env, d.indented())
	for _, script := range scripts {
		if err != nil {
			break
		}
		_, subStage, _ := strings.Cut(strings.TrimSuffix(filepath.Base(script), ".sh"), "-")
		err = d.stage(ctx, "run "+subStage, env, d.indented(), filepath.Join(d.dir, script), subStage)
	}
	cleanup := d.stage(context.WithoutCancel(ctx), "cleanup", env, d.indented())
	if err == nil {
		err = cleanup
	}
	return err
}

func (d *demo) stageEnv(job string) []string {
	return append(os.Environ(),
		"BUILD_FAILURE_EXIT_CODE=1", "SYSTEM_FAILURE_EXIT_CODE=2",
		"BUILD_EXIT_CODE_FILE="+filepath.Join(d.dir, "build_exit_code"),
		"JOB_RESPONSE_FILE="+filepath.Join(d.dir, "jobs", job+".json"),
		"CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0")
}

// stage runs one stage and tells how long it took. name is the stage and, for
// run, the sub-stage.
func (d *demo) stage(ctx context.Context, name string, env []string, out io.Writer, args ...string) error {
	stage, _, _ := strings.Cut(name, " ")
	started := time.Now()
	command := exec.CommandContext(ctx, d.binary, slices.Concat([]string{"--config", d.driverFile(), stage}, args)...) //nolint:gosec // this very program
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.Env, command.Stdout, command.Stderr = env, out, d.indented()
	d.out.Wait(name)
	err := command.Run()
	d.out.Wait("")
	d.printf("%-28s %6d ms\n", name, time.Since(started).Milliseconds())
	if err != nil {
		return fmt.Errorf("stage %s: %w", name, err)
	}
	return nil
}

// indented marks a stage's output off from the demo's own.
func (d *demo) indented() io.Writer { return &indenter{out: d.out} }

type indenter struct {
	out    io.Writer
	inLine bool
}

func (w *indenter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		marked := line
		if !w.inLine {
			marked = append([]byte("    | "), line...)
		}
		// One write, so that no line of the stage's other stream comes between.
		if _, err := w.out.Write(marked); err != nil {
			return 0, err
		}
		w.inLine = !bytes.HasSuffix(line, []byte("\n"))
	}
	return len(p), nil
}
