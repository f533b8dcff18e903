package stages

import (
	"errors"
	"fmt"
	"os"
)

// BuildError is a failure that the job's author has to mend: the script's own
// exit status, or a mistake in the job's definition. The runner does not retry.
type BuildError struct {
	Status  int    // of the script; 0 where no script ran
	Message string // what the job's log says; "" where the script said it itself
}

func (e *BuildError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Message
}

func buildErrorf(format string, args ...any) error {
	return &BuildError{Message: fmt.Sprintf(format, args...)}
}

// ExitStatus is the status that the process must exit with, and writes the
// script's own one to the file where the runner looks for it: a bare number on
// the first line (sources.md: custom-executor). Whatever is not known to be the
// job's own fault is a system failure; success is only the absence of an error.
func (env Env) ExitStatus(err error) (int, error) {
	var build *BuildError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &build):
		return env.SystemFailure, nil
	case build.Status == 0 || env.BuildExitCodeFile == "":
		return env.BuildFailure, nil
	}
	if err := os.WriteFile(env.BuildExitCodeFile, fmt.Appendf(nil, "%d\n", build.Status), 0o600); err != nil {
		return env.SystemFailure, fmt.Errorf("writing the script's exit status for the runner: %w", err)
	}
	return env.BuildFailure, nil
}

// ClearExitCode removes what an earlier stage left in BUILD_EXIT_CODE_FILE, which
// the runner never clears.
func (env Env) ClearExitCode() error {
	if env.BuildExitCodeFile == "" {
		return nil
	}
	if err := os.Remove(env.BuildExitCodeFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the exit status of an earlier stage: %w", err)
	}
	return nil
}
