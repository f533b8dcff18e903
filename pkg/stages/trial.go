package stages

import (
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// trialInstance stands for the GitLab instance of a job that none has sent, so that
// no real job is taken for it.
const trialInstance = "eci-executor-check"

// trialTimeout is of the job: a group that is left over ends soon after it.
const trialTimeout = 5 * time.Minute

// TrialJob is a job that no GitLab has sent, for check: it runs the default image. Its
// group is one of this host's runners for reap.
func TrialJob(runnerVersion string, now time.Time) *Job {
	return &Job{
		ID: now.Unix(), Name: "check", Stage: "check", ProjectPath: DriverName + "/check", Timeout: trialTimeout,
		Instance: trialInstance, RunnerID: "check", RunnerVersion: runnerVersion, Attempt: randomHex(4), Slot: "check",
	}
}

// Request is the container group that prepare would ask for, without a client token.
// A job's mistakes are an error, as in prepare.
func (job *Job) Request(cfg *config.Config, now time.Time) (eci.GroupSpec, error) {
	return groupSpec(cfg, job, now)
}
