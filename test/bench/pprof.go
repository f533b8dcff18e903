package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// longLog prints 200 MB.
const longLog = "head -c 200000000 /dev/zero\n"

// profileCPU takes the driver through what costs most: many processes of a stage with a
// short script, few with a long log, and jobs without a script. Of each it prints where
// the processes were, added up; package initialisation comes before (GODEBUG=inittrace=1
// shows that).
func profileCPU(ctx context.Context, o options, dir string, out io.Writer) error {
	driver, err := build(ctx, dir, "pprof")
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name, about  string
		jobs, runs   int
		script       string
		groupsAsWell bool // whose profiles count: those of prepare and cleanup, or of run
	}{
		{"run", "run, 200 times, of a script that prints three lines", 1, 200, script, false},
		{"log", "run, 5 times, of a script that prints 200 MB", 1, 5, longLog, false},
		{"group", "config, prepare and cleanup, of 60 jobs", 60, 0, "", true},
	} {
		profiles := filepath.Join(o.pprof, c.name)
		if err := os.MkdirAll(profiles, 0o755); err != nil { //nolint:gosec // no secrets
			return err
		}
		scratch := filepath.Join(dir, c.name)
		of := map[bool]string{c.groupsAsWell: profiles, !c.groupsAsWell: scratch}
		err := profileJobs(ctx, o, driver, scratch, c.jobs, func(j *job) error {
			return j.profiled(ctx, c.script, c.runs, of[true], of[false])
		})
		if err == nil {
			_, err = fmt.Fprintf(out, "\n%s\n", c.about)
		}
		if err == nil {
			err = top(ctx, driver, profiles, out)
		}
		if err != nil {
			return fmt.Errorf("profile of %s: %w", c.name, err)
		}
	}
	return nil
}

// profileJobs has one host do jobs one after the other.
func profileJobs(ctx context.Context, o options, driver, dir string, jobs int, work func(*job) error) error {
	return onHost(profiles(o)["zero"], o, driver, dir, func(w *world, file string) error {
		for i := range jobs {
			j, err := w.newJob(file, i+1)
			if err == nil {
				err = work(j)
			}
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
		}
		return nil
	})
}

// profiled takes the job through its stages; profiles of those about the group go to one
// directory, those of run to another.
func (j *job) profiled(ctx context.Context, script string, runs int, group, run string) error {
	if err := os.WriteFile(j.scriptFile, []byte(script), 0o700); err != nil { //nolint:gosec // a script
		return err
	}
	stage := func(ctx context.Context, into string, args ...string) error {
		with := *j
		with.env = append([]string{"ECI_EXECUTOR_PPROF=" + into}, j.env...)
		_, _, err := with.stage(ctx, args...)
		return err
	}
	err := errors.Join(stage(ctx, group, "config"), stage(ctx, group, "prepare"))
	for range runs {
		if err == nil {
			err = stage(ctx, run, "run", j.scriptFile, "build_script")
		}
	}
	return errors.Join(err, stage(context.WithoutCancel(ctx), group, "cleanup"))
}

// top prints what go tool pprof makes of all profiles in a directory.
func top(ctx context.Context, driver, dir string, out io.Writer) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("no profiles in %s", dir))
	}
	for _, by := range [][]string{{"-flat", "-nodecount=12"}, {"-cum", "-nodecount=20", `-hide=^main|urfave|^runtime\.(main|systemstack)`}} {
		arguments := slices.Concat([]string{"tool", "pprof", "-top"}, by, []string{driver}, files)
		command := exec.CommandContext(ctx, "go", arguments...) //nolint:gosec // our own files
		command.Stdout, command.Stderr = out, os.Stderr
		if err := command.Run(); err != nil {
			return err
		}
	}
	return nil
}
