package stages

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Record is what the driver keeps of one attempt in state_dir: the intent before
// the create call, the group's id after it, and whether the attempt is over. It
// holds registry passwords, hence 0600.
type Record struct {
	Instance string                 `json:"instance"`
	Job      int64                  `json:"job"`
	Attempt  string                 `json:"attempt"`
	Name     string                 `json:"name"`             // of the group
	Region   string                 `json:"region,omitempty"` // of the group
	Tags     map[string]string      `json:"tags"`             // those that find the attempt's groups
	Params   eci.Params             `json:"params,omitempty"`
	GroupID  string                 `json:"group_id,omitempty"`
	Cost     *Cost                  `json:"cost,omitempty"`     // of the group, once it runs
	Starting *Starting              `json:"starting,omitempty"` // of the group, while not all of it is known to have started
	Awaited  bool                   `json:"awaited,omitempty"`  // its services were, well or not
	Services map[string]ServiceSeen `json:"services,omitempty"` // by container
	Created  time.Time              `json:"created"`
	Expires  time.Time              `json:"expires,omitzero"` // as in the group's tag
	Over     time.Time              `json:"over,omitzero"`    // when cleanup began; the file goes when nothing is left
	Looks    int                    `json:"looks,omitzero"`   // how many of looks have found nothing since

	Failed    *Failed   `json:"failed,omitempty"` // where the group is kept for it
	KeepUntil time.Time `json:"keep_until,omitzero"`
	Kept      bool      `json:"kept,omitempty"` // cleanup left it to end then

	Transport string `json:"transport,omitempty"` // sync, once the WebSocket was given up
}

// isOver tells whether nothing needs the attempt's group any more: cleanup has begun, or the
// time of a kept group is over. That time was written with the job's last script, so it also
// counts where cleanup was killed before it could write anything.
func (r *Record) isOver(now time.Time) bool {
	return !r.Over.IsZero() || !r.KeepUntil.IsZero() && now.After(r.KeepUntil.Add(keptGrace))
}

// looks are the times after the beginning of a cleanup at which its attempt's groups are
// looked for: a create call that got no answer may take effect late, and a new group may
// not be listed at once. The first look is cleanup's, the others are made by later
// prepares and by reap.
func looks() []time.Duration { return []time.Duration{0, 30 * time.Second, 5 * time.Minute, time.Hour} }

// elsewhere tells whether the attempt's group is in another region than this one, where
// nothing can be learned of it: the region of the driver's file was changed, or another
// driver's file has the same state_dir.
func (r *Record) elsewhere(region string) bool { return r.Region != "" && r.Region != region }

// due tells whether it is time for the next look for groups of an attempt that is over. Where
// its cleanup began in the future, the clock was set back, and the look is due.
func (r *Record) due(now time.Time) bool {
	return r.Looks == 0 || r.Looks >= len(looks()) || !younger(now, r.Over, looks()[r.Looks])
}

// looked counts a look that found nothing and tells whether it was the last. Where the clock
// was set back to before the cleanup, the looks that are left count from at.
func (r *Record) looked(at time.Time) bool {
	if at.Before(r.Over) {
		r.Over = at
	}
	for r.Looks < len(looks()) && at.Sub(r.Over) >= looks()[r.Looks] {
		r.Looks++
	}
	return r.Looks >= len(looks())
}

// finds tells whether g is a group of the attempt.
func (r *Record) finds(g *eci.Group) bool {
	return r.GroupID == g.ID && g.ID != "" || hasTags(g, r.Tags)
}

// hasTags tells whether g has all these tags, which must be those of an attempt: without the
// tag attempt they stand for no group.
func hasTags(g *eci.Group, want map[string]string) bool {
	for k, v := range want {
		if g.Tags[k] != v {
			return false
		}
	}
	return want[tagAttempt] != ""
}

// newRecord is the record of the stage's attempt before anything has happened.
func (s *Stage) newRecord() *Record {
	return &Record{Instance: s.Job.Instance, Job: s.Job.ID, Attempt: s.Job.Attempt, Name: groupName(s.Config, s.Job),
		Region: s.Config.Region, Tags: attemptTags(s.Config, s.Job), Created: s.Clock.Now()}
}

const recordSuffix = ".attempt.json"

func (s store) recordPath(job *Job) string {
	return filepath.Join(s.dir, fileName(job)+"-a"+job.Attempt+recordSuffix)
}

// beside is the path of another file of the attempt that has the record.
func beside(record, suffix string) string { return strings.TrimSuffix(record, recordSuffix) + suffix }

// loadRecord returns nil where the attempt has none.
func (s store) loadRecord(job *Job) (*Record, error) {
	var r Record
	ok, err := load(s.recordPath(job), &r)
	if err != nil || !ok {
		return nil, err
	}
	return &r, nil
}

func (s store) removeRecord(job *Job) error {
	return remove(s.recordPath(job))
}

// records lists the files of all attempts, sorted; none where there is no
// state_dir.
func (s store) records() ([]string, error) { return s.files(recordSuffix) }

// update changes an attempt's record while no other process changes it. change gets the
// record, nil where there is none or it can't be read, and returns the one that is to be
// there, nil for none. update returns that one too, also with an error, where it could not
// be written. A record that can't be read is replaced by another, but never removed.
func (s store) update(path string, change func(*Record) *Record) (*Record, error) {
	release, lockErr := s.lockDir()
	defer release()
	var found Record
	ok, err := load(path, &found)
	r := &found
	if !ok || err != nil {
		r = nil
	}
	r = change(r)
	switch {
	case lockErr != nil:
		return r, lockErr
	case r == nil && err != nil:
		return nil, err
	case r == nil:
		return nil, remove(path)
	}
	return r, write(path, r)
}

// amend changes the record of the stage's attempt, where there is one, and returns it.
func (s *Stage) amend(change func(*Record)) (*Record, error) {
	return s.store().update(s.store().recordPath(s.Job), func(r *Record) *Record {
		if r != nil {
			change(r)
		}
		return r
	})
}
