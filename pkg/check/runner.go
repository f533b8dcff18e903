package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// program is the name of the driver's binary in the runner's file.
const program = stages.DriverName

// runner reads the runner's file and tells every relation that does not hold.
func runner(_ context.Context, w *world) []Line {
	path := w.RunnerFile
	if path == "" {
		path = DefaultRunnerFile
	}
	loaded, err := config.LoadRunner(path)
	const here = "Run check on the runner's host as the user that can read it, or name it with --runner-config."
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.RunnerFile == "", errors.Is(err, fs.ErrPermission):
		return []Line{warning(here, "%v", err)}
	case err != nil:
		return []Line{failed(here, "%v", err)}
	}
	w.runner = loaded
	ours := loaded.Ours(program)
	if len(ours) == 0 {
		return []Line{failed("Take config.toml.example over into it.", "%s has no [[runners]] whose executor is custom and whose [runners.custom] calls %s", path, program)}
	}
	var lines []Line
	for _, r := range ours {
		lines = append(lines, w.relations(path, r)...)
	}
	return lines
}

func (w *world) relations(path string, r *config.Runner) []Line {
	var lines []Line
	relations := config.Relations(w.runner, r, w.cfg, w.ConfigFile, program)
	for _, relation := range relations {
		advice := fmt.Sprintf("In %s: %s.", path, relation.Fix)
		switch {
		case relation.Holds:
		case relation.Fatal:
			lines = append(lines, failed(advice, "does not hold: %s", relation.Name).of(r.Name))
		default:
			lines = append(lines, warning(advice, "does not hold: %s", relation.Name).of(r.Name))
		}
	}
	if len(lines) == 0 {
		return []Line{ok("%s: runner %q, %d jobs at a time, all %d relations hold", path, r.Name, w.runner.JobsOf(r), len(relations)).of(r.Name)}
	}
	return lines
}
