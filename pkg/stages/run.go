package stages

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/internal/remote"
)

// roleOf says in which container a sub-stage runs: GitLab's own scripts in helper, what the
// job's author wrote in build. The runner does not say which is which (sources.md:
// custom-executor), but by its rule names that are not known here are the author's.
func roleOf(subStage string) remote.Role {
	switch subStage {
	case "prepare_script", "get_sources", "clear_worktree", "boot_verify_probes",
		"restore_cache", "download_artifacts",
		"archive_cache", "archive_cache_on_failure",
		"upload_artifacts_on_success", "upload_artifacts_on_failure",
		"cleanup_file_variables":
		return remote.Helper
	}
	return remote.Build
}

// Run runs the script of one sub-stage in the prepared group. A script that
// fails comes back as a *BuildError with its own status.
func (s *Stage) Run(ctx context.Context, script, subStage string) error {
	if ext := filepath.Ext(script); ext == ".ps1" {
		return fmt.Errorf("the runner made a PowerShell script, which can't run here: set shell = \"bash\" in config.toml")
	}
	body, err := os.ReadFile(script)
	if err != nil {
		return fmt.Errorf("reading the script of %s: %w", subStage, err)
	}
	if body, err = withFiles(s.Config, s.Job, subStage, body); err != nil {
		return err
	}
	record, err := s.store().loadRecord(s.Job)
	if err != nil {
		return err
	}
	if record == nil || record.GroupID == "" {
		return fmt.Errorf("job %d has no prepared container group (attempt %s in %s): prepare must succeed before run", s.Job.ID, s.Job.Attempt, s.Config.StateDir)
	}
	s.group = record.GroupID
	s.Logger = s.Logger.WithField("group", s.group)
	defer s.working(subStage)()
	defer s.tellCost(subStage, record)
	defer s.tellKept(subStage)
	role := roleOf(subStage)
	if role == remote.Build {
		if err := s.awaitStarted(ctx, record, false); err != nil {
			return err
		}
		err = s.awaitServices(ctx, record)
	}
	if err == nil {
		err = s.script(ctx, record, subStage, remote.Job{Role: role, Shell: s.Config.Shell, Body: body})
		if role == remote.Build {
			s.tellServices(ctx, record.GroupID)
		}
	}
	if recordErr := s.recordFailure(subStage, role, err); recordErr != nil {
		s.Logger.WithError(recordErr).Warn("recording the failure: the container group will not be kept")
	}
	return err
}

// script runs the script of a sub-stage.
func (s *Stage) script(ctx context.Context, record *Record, subStage string, job remote.Job) error {
	session, said := s.session(record, subStage), &tailWriter{Writer: s.Stdout}
	session.Output = said
	result, err := session.Run(ctx, job)
	return s.outcome(subStage, record, result, said.tail, err)
}

// outcome is the error of a stage by how its script ended: nil for status 0. said is the end
// of the script's log.
func (s *Stage) outcome(subStage string, record *Record, result remote.Result, said []byte, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s in container group %s: %w", subStage, record.GroupID, err)
	case result.Status == 0:
		return nil
	case result.OOM:
		m := s.memoryOf(string(roleOf(subStage)))
		return &BuildError{Status: result.Status, Message: fmt.Sprintf(
			"%s was killed because the memory of the %s was used up (%g GiB); ask for more with the variable %s, or %s",
			subStage, m.of, m.size.GiB(), m.variable, m.key)}
	}
	return &BuildError{Status: result.Status, Message: noWayOut(subStage, said, s.Job.Instance)}
}

// session runs scripts in the group of a record.
func (s *Stage) session(record *Record, subStage string) *scripts {
	doctor := s.newDoctor(record)
	transport := s.transport(record, doctor.execs.heard)
	return &scripts{transport: transport, Session: &remote.Session{
		Open:     transport.open,
		Borrow:   transport.borrow,
		Diagnose: doctor.diagnose,
		Output:   s.Stdout,
		Notices:  s.Stderr,
		Settings: s.Remote,
		Logger:   s.Logger.WithField("stage", subStage),
		Lost:     func() { s.Metrics.Add(metrics.Reconnects, 1) },
	}}
}
