package stages

import (
	"strconv"
	"strings"

	"gitlab.com/gitlab-org/gitlab-runner/executors/custom/api"
)

// AttemptVariable is the variable of job_env that carries the attempt id from
// config to the other stages of one attempt.
const AttemptVariable = "ECI_EXECUTOR_ATTEMPT"

// Env is the environment that the runner calls a driver with
// (sources.md: custom-executor).
type Env struct {
	JobResponseFile   string
	BuildExitCodeFile string
	BuildFailure      int // exit status that means: the job's own fault
	SystemFailure     int
	Attempt           string            // 8 hex digits drawn by config; "" by hand
	Custom            map[string]string // CUSTOM_ENV_*, without the prefix; a job can set most of them
}

// ReadEnv reads environ (as of os.Environ). Outside of a runner the exit statuses
// are the runner's own defaults.
func ReadEnv(environ []string) Env {
	env := Env{BuildFailure: 1, SystemFailure: 2, Custom: map[string]string{}}
	for _, entry := range environ {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case api.JobResponseFileVariable:
			env.JobResponseFile = value
		case api.BuildCodeFileVariable:
			env.BuildExitCodeFile = value
		case api.BuildFailureExitCodeVariable:
			env.BuildFailure = failure(value, env.BuildFailure)
		case api.SystemFailureExitCodeVariable:
			env.SystemFailure = failure(value, env.SystemFailure)
		case AttemptVariable:
			env.Attempt = value
		default:
			if name, ok := strings.CutPrefix(key, "CUSTOM_ENV_"); ok {
				env.Custom[name] = value
			}
		}
	}
	return env
}

// failure is an exit status that can't be taken for success, whatever the environment says: a
// process exits with the lowest 8 bits of a number, so that 256 would be 0.
func failure(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 255 {
		return n
	}
	return otherwise
}
