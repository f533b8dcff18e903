package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
)

// The group of a failed job may be kept for a while, so that a person can look into it. run
// records that a build stage failed and, with the job's last script, tells in the log until
// when the group is kept. cleanup then does not delete the group, but has PID 1 of helper
// and build end at that time. A kept group with services still runs then: the next prepare
// or reap deletes it, at the latest ECI ends it at ActiveDeadlineSeconds.

// Failed is the build stage that failed.
type Failed struct {
	Stage  string `json:"stage"`
	Status int    `json:"status"` // of its script
}

// keptGrace is how long after its time a kept group is deleted: by then its containers have
// ended, if they end by themselves.
const keptGrace = time.Minute

// hourLayout is how that time is shown to a person.
const hourLayout = "2006-01-02 15:04:05 MST"

// keepTime is how long the job's group is to be kept after a failure, 0 for not at
// all.
func (s *Stage) keepTime() time.Duration {
	cfg, _, err := withOverwrites(s.Config, s.Job)
	if err != nil { // prepare has refused the job
		return 0
	}
	return cfg.Debug.KeepOnFailure
}

// recordFailure notes that a script of build failed, if the job's group is to be kept. A
// failed after_script does not count: it fails no job.
func (s *Stage) recordFailure(subStage string, role remote.Role, failure error) error {
	var build *BuildError
	if role != remote.Build || subStage == "after_script" || !errors.As(failure, &build) || s.keepTime() == 0 {
		return nil
	}
	_, err := s.amend(func(r *Record) {
		if r.Failed == nil {
			r.Failed = &Failed{subStage, build.Status}
		}
	})
	return err
}

// tellKept decides, with the last script of a failed job, until when its group is
// kept, and tells the job's author.
func (s *Stage) tellKept(subStage string) {
	if subStage != "cleanup_file_variables" {
		return
	}
	record, err := s.store().loadRecord(s.Job)
	if err != nil || record == nil || record.Failed == nil {
		return // as with most jobs, whose record needs no other writing
	}
	record, err = s.amend(func(r *Record) {
		if r.Failed != nil && r.KeepUntil.IsZero() {
			r.KeepUntil = r.keptFrom(s.Clock.Now(), s.keepTime())
		}
	})
	if err != nil || record == nil || record.KeepUntil.IsZero() {
		return // then cleanup keeps nothing either
	}
	s.printf("%s failed with exit status %d: container group %s is kept until %s. To look into it, on the runner's host: %s shell %d\n",
		record.Failed.Stage, record.Failed.Status, record.GroupID, record.KeepUntil.UTC().Format(hourLayout), DriverName, s.Job.ID)
}

// keptFrom is until when a group can be kept that is to be kept for a time from now on: not
// beyond its deadline, at which ECI ends it. Zero where that is over.
func (r *Record) keptFrom(now time.Time, keep time.Duration) time.Time {
	until := now.Add(keep)
	if !r.Expires.IsZero() && r.Expires.Before(until) {
		until = r.Expires
	}
	if !until.After(now) {
		return time.Time{}
	}
	return until
}

// keeps tells whether the group of a failed job is kept, after having made sure that it
// ends by itself at its time; a group that can't be made to is not kept. A second cleanup
// does not keep it again.
func (s *Stage) keeps(ctx context.Context) bool {
	record, err := s.store().loadRecord(s.Job)
	if err != nil || record == nil || record.Failed == nil || record.GroupID == "" || record.Kept || !record.Over.IsZero() {
		return false
	}
	left := record.KeepUntil.Sub(s.Clock.Now()).Round(time.Second)
	if left <= 0 {
		return false
	}
	log := s.Logger.WithField("group", record.GroupID)
	if err := s.endIn(ctx, record, left); err != nil {
		log.WithError(err).Warn("the group of the failed job can't be kept and is deleted")
		return false
	}
	if _, err = s.amend(func(r *Record) { r.Kept, r.Params = true, nil }); err != nil {
		log.WithError(err).Warn("the group of the failed job can't be recorded as kept and is deleted")
		return false
	}
	s.logCost(record, record.KeepUntil, true) // nobody comes back at that hour to tell it
	log.WithField("until", record.KeepUntil.UTC()).Info("container group is kept, because its job failed")
	return true
}

// endIn tells PID 1 of helper and build to end after a while. It takes half of [timeouts]
// delete at most, and so leaves time for a delete where it fails.
func (s *Stage) endIn(ctx context.Context, record *Record, after time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, s.Config.Timeouts.Delete/2)
	defer cancel()
	result, err := s.session(record, "keep").Run(ctx, remote.EndIn(after))
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("the end of container group %s can't be set: exit status %d", record.GroupID, result.Status)
	}
	return err
}
