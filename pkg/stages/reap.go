package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/metrics"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Reaper deletes the container groups and the state files that jobs left behind.
// It needs no job and may run at any time: beside running jobs, whose groups it
// leaves alone, and on several hosts at once.
type Reaper struct {
	Config *config.Config
	API    API
	Clock  Clock // of this host: for state_dir alone, never for the age of a group
	Stdout io.Writer

	Metrics *metrics.Recorder // nil counts nothing
	Dial    Dialer            // nil = only Config's own region is asked
}

// ReapOptions narrow what a Reaper deletes.
type ReapOptions struct {
	DryRun    bool          // only tell
	OlderThan time.Duration // only groups of at least this age
	Runner    string        // this runner's groups instead of those of this host's runners
}

// Reap looks at every group of the region that carries the driver's tags, deletes
// what judge says, then the state files that serve no attempt any more, and prints
// a table of both. It returns an error for what could not be done.
func (r *Reaper) Reap(ctx context.Context, o ReapOptions) error {
	run := &reaping{Reaper: r, options: o, runners: scope{told: o.Runner, name: r.Config.RunnerName}, started: r.Clock.Now(), away: map[string]*Stage{}, kept: map[string]time.Time{}}
	var err error
	if run.runners.known, err = run.store().runners(); err != nil {
		run.unread = true
		run.failed(err)
	}
	records, err := run.store().records()
	if err != nil {
		run.failed(err)
	}
	// Records are read before groups are listed: the group of an attempt that is over by then
	// was created before the listing, so that the listing has it.
	over := run.overRecords(records)
	if err := run.list(ctx); err != nil {
		return errors.Join(append(run.errs, err)...)
	}
	for i := range run.groups {
		if ctx.Err() != nil {
			run.groups[i].action, run.groups[i].why = actionKept, "not come to"
			continue
		}
		run.group(ctx, &run.groups[i], over)
	}
	if ctx.Err() != nil {
		run.failed(fmt.Errorf("reap was interrupted: %w", context.Cause(ctx)))
	}
	for _, path := range records {
		run.record(ctx, path)
	}
	run.prune()
	if err := run.print(); err != nil {
		run.failed(err)
	}
	run.count()
	return errors.Join(run.errs...)
}

// count writes for [metrics] textfile what became of the groups.
func (r *reaping) count() {
	if r.options.DryRun {
		return
	}
	for i := range r.groups {
		if r.groups[i].action == actionDeleted {
			r.Metrics.Add(metrics.Reaped, 1)
		}
	}
	if len(r.errs) == 0 {
		r.Metrics.Set(metrics.ReapSuccess, float64(r.Clock.Now().Unix()))
	}
	if err := r.Metrics.Flush(r.Config.StateDir, r.Config.Metrics.Textfile, r.Clock.Now()); err != nil {
		r.failed(err)
	}
}

// reaping is one run of a Reaper.
type reaping struct {
	*Reaper
	options ReapOptions
	runners scope
	unread  bool      // whose groups this host has made is not known
	started time.Time // by this host's clock
	date    time.Time // by the server's clock, zero when it tells none
	groups  []reaped
	away    map[string]*Stage    // by another region, nil for one that can't be asked
	kept    map[string]time.Time // by group, until when it is, by this host's clock
	files   []fileRow
	errs    []error
}

// reaped is a group and what became of it.
type reaped struct {
	eci.Group
	action string
	why    string
}

// The actions of the table.
const (
	actionKept    = "kept"
	actionDeleted = "deleted"
	actionGone    = "gone" // somebody else was faster
	actionFailed  = "failed"
	actionWould   = "would delete"
)

// left tells whether the group is still there, as far as is known.
func (g *reaped) left() bool {
	return g.action != actionDeleted && g.action != actionGone && g.Status != statusTerminating
}

func (r *reaping) failed(err error) { r.errs = append(r.errs, err) }

func (r *reaping) store() store { return store{r.Config.StateDir} }

// overRecords are the records of attempts whose cleanup could not finish. Those of groups
// that are kept until an hour to come it notes beside them.
func (r *reaping) overRecords(paths []string) map[string]*Record {
	over := map[string]*Record{}
	for _, path := range paths {
		switch record := r.readRecord(path); {
		case record == nil || !r.runners.hasRecord(record):
		case record.isOver(r.started):
			over[path] = record
		case !record.KeepUntil.IsZero():
			r.kept[record.GroupID] = record.KeepUntil
		}
	}
	return over
}

// readRecord reads a record; nil where it is of another region, or the file is damaged.
func (r *reaping) readRecord(path string) *Record {
	var record Record
	if ok, err := load(path, &record); err != nil || !ok || record.elsewhere(r.Config.Region) {
		return nil
	}
	return &record
}

func (r *reaping) list(ctx context.Context) error {
	listing, err := listOwn(ctx, r.API, r.Config.Region, eci.Query{WithEvent: true}, persistence)
	if err != nil {
		return withAdvice(err)
	}
	r.date = listing.Date
	if r.date.IsZero() {
		r.failed(errors.New("the API's answer carries no Date, by which alone ages are reckoned: no group is deleted for its age"))
	}
	for _, g := range listing.Groups {
		r.groups = append(r.groups, reaped{Group: g})
	}
	return nil
}

// group judges one group and deletes it where that is the verdict.
func (r *reaping) group(ctx context.Context, g *reaped, over map[string]*Record) {
	isOver := false
	for path, record := range over {
		if !record.finds(&g.Group) {
			continue
		}
		release, err := r.store().claim(path)
		if err != nil {
			g.action, g.why = actionKept, "a stage works on its attempt"
			return
		}
		defer release()
		// By hand, the attempt may have been begun anew since.
		if record = r.readRecord(path); record != nil && record.isOver(r.started) && record.finds(&g.Group) {
			isOver = true
		}
	}
	v := r.judge(&g.Group, isOver, r.date)
	switch g.action, g.why = actionKept, v.why; {
	case !v.remove:
	case r.options.DryRun:
		g.action = actionWould
	default:
		r.remove(ctx, g, isOver)
	}
}

// remove reads the group again, since the listing may be old by now, and deletes
// it if the verdict still holds.
func (r *reaping) remove(ctx context.Context, g *reaped, over bool) {
	listing, err := list(ctx, r.API, eci.Query{IDs: []string{g.ID}, WithEvent: true}, r.Config.Timeouts.Delete)
	switch {
	case eci.ClassOf(err) == eci.NotFound, err == nil && len(listing.Groups) == 0:
		g.action = actionGone
		return
	case err != nil:
		r.failed(err)
		g.action, g.why = actionFailed, "it could not be read again"
		return
	}
	g.Group = listing.Groups[0]
	v := r.judge(&g.Group, over, listing.Date)
	if g.action, g.why = actionKept, v.why; !v.remove {
		return
	}
	switch err := deleteGroup(ctx, r.API, g.ID, r.Config.Timeouts.Delete); {
	case err == nil:
		g.action = actionDeleted
	case eci.ClassOf(err) == eci.NotFound:
		g.action = actionGone
	default:
		r.failed(err)
		g.action = actionFailed
	}
}
