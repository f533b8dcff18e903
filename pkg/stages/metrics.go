package stages

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Ended writes down how a stage ended: a line in the operator's log, and what was
// counted meanwhile for [metrics] textfile. name is prepare, cleanup or the sub-stage of
// run, err what the stage returned. What fails here fails no job.
func (s *Stage) Ended(ctx context.Context, name string, took time.Duration, err error) {
	outcome := outcomeOf(ctx, err)
	log := s.Logger.WithFields(logrus.Fields{"stage": name, "outcome": outcome, "seconds": took.Seconds()})
	if s.group != "" {
		log = log.WithField("group", s.group)
	}
	switch outcome {
	case metrics.Success:
		log.Info("stage has ended")
	case metrics.SystemFailure:
		log.WithError(err).Error("stage has ended")
	default:
		log.WithError(err).Info("stage has ended")
	}
	attempt := fileName(s.Job) + "-a" + s.Job.Attempt
	switch {
	case name == "prepare":
		s.Metrics.Observe(metrics.Prepare, took, string(outcome))
		s.Metrics.Stage(attempt, name, outcome, s.Clock.Now())
	case name == "cleanup":
		s.Metrics.Over(attempt)
	case decides(name):
		s.Metrics.Stage(attempt, name, outcome, s.Clock.Now())
	}
	s.flush()
}

func (s *Stage) flush() {
	if err := s.Metrics.Flush(s.Config.StateDir, s.Config.Metrics.Textfile, s.Clock.Now()); err != nil {
		s.Logger.WithError(err).Warn("writing [metrics] textfile")
	}
}

// decides tells whether a sub-stage can fail its job. after_script can't, nor can what runs
// only because the job has failed, or after all is decided.
func decides(subStage string) bool {
	switch subStage {
	case "after_script", "archive_cache_on_failure", "upload_artifacts_on_failure", "cleanup_file_variables":
		return false
	}
	return true
}

// outcomeOf is how a stage ended that returned err. Its ctx ends by nothing but the runner's
// signal, so that the job was cancelled then.
func outcomeOf(ctx context.Context, err error) metrics.Outcome {
	var build *BuildError
	switch {
	case err == nil:
		return metrics.Success
	case ctx.Err() != nil:
		return metrics.Cancelled
	case errors.As(err, &build):
		return metrics.BuildFailure
	}
	return metrics.SystemFailure
}

// countCost counts a container group that ends.
func (s *Stage) countCost(c *Cost, seconds float64) {
	spot := strconv.FormatBool(c.Spot)
	s.Metrics.Add(metrics.Groups, 1, spot)
	s.Metrics.Add(metrics.GroupSeconds, seconds, spot)
	if c.PerSecond > 0 {
		s.Metrics.Add(metrics.Cost, c.PerSecond*seconds, c.Currency)
	}
}

// countPhases counts how long each phase of a group's start took; all its containers must
// have been started.
func (s *Stage) countPhases(group *eci.Group) {
	for _, p := range phasesOf(group) {
		s.Metrics.Observe(metrics.PreparePhase, p.took, p.name)
	}
}
