package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// fileRow is a state file and what became of it.
type fileRow struct{ path, action, why string }

const (
	actionRemoved     = "removed"
	actionWouldRemove = "would remove"
)

// record removes an attempt's record that serves nothing any more: one that is
// over and of which nothing is left, and one whose cleanup was never called and
// whose group's time is over.
func (r *reaping) record(ctx context.Context, path string) {
	release, err := r.store().claim(path)
	if errors.Is(err, errLocked) {
		return // a stage works on it
	}
	defer release()
	if err != nil {
		r.failed(err)
		return
	}
	var record Record
	switch ok, err := load(path, &record); {
	case err != nil:
		r.file(path, actionKept, "damaged; look at it, then remove it by hand")
		return
	case !ok || !r.runners.hasRecord(&record):
		return
	case record.elsewhere(r.Config.Region):
		if record.isOver(r.started) {
			r.elsewhere(ctx, path, &record)
		}
		return
	}
	found, unknown, left := r.groupsOf(&record)
	over := record.isOver(r.started)
	switch {
	case left > 0:
	case !over && !record.Expires.IsZero() && r.date.After(record.Expires.Add(afterExpiry)):
		r.removeFile(path, "its cleanup was never called, and the time of its group is over")
	case !over:
	case unknown > 0:
		r.file(path, actionKept, "a group of it is listed that is not known by its id: the next reap looks again")
	case found > 0:
		r.removeFile(path, "its group is deleted")
	case record.looked(r.started):
		r.removeFile(path, "no group of it came to light")
	default:
		last := record.Over.Add(looks()[len(looks())-1])
		r.file(path, actionKept, "a group of it may still come to light until "+last.UTC().Format(time.RFC3339))
		if !r.options.DryRun {
			if err := save(path, &record); err != nil {
				r.failed(err)
			}
		}
	}
}

// elsewhere finishes a cleanup in another region, that of its group. A region whose API does
// not answer is left alone from then on: its own driver's file may name another endpoint.
func (r *reaping) elsewhere(ctx context.Context, path string, record *Record) {
	s, known := r.away[record.Region]
	if !known {
		s = &Stage{Config: r.Config, Clock: r.Clock, Dial: r.Dial}
		if !s.moveTo(record.Region) {
			s = nil
		}
		r.away[record.Region] = s
	}
	if s != nil && !r.options.DryRun && r.options.OlderThan == 0 {
		switch done, err := s.finish(ctx, path, record); {
		case err != nil:
			r.away[record.Region] = nil
		case done:
			r.file(path, actionRemoved, "nothing of it is left in "+record.Region)
			return
		default:
			r.file(path, actionKept, "a group of it may still come to light in "+record.Region)
			return
		}
	}
	r.file(path, actionKept, "its container group is in "+record.Region+": reap with that region in the driver's file")
}

// groupsOf counts the groups of a record that were listed: found are those that are being
// deleted, unknown those that the API did not know when they were to be, as they may
// be too new, and left all others.
func (r *reaping) groupsOf(record *Record) (found, unknown, left int) {
	for i := range r.groups {
		switch g := &r.groups[i]; {
		case !record.finds(&g.Group):
		case g.action == actionGone:
			unknown++
		case g.left():
			left++
		default:
			found++
		}
	}
	return found, unknown, left
}

// prune removes the state files that are no attempt's record.
func (r *reaping) prune() {
	for _, path := range r.store().stale(r.started) {
		r.removeFile(path, "of no use any more")
	}
}

func (r *reaping) removeFile(path, why string) {
	if r.options.DryRun {
		r.file(path, actionWouldRemove, why)
		return
	}
	if err := remove(path); err != nil {
		r.failed(err)
		r.file(path, actionFailed, why)
		return
	}
	r.file(path, actionRemoved, why)
}

func (r *reaping) file(path, action, why string) {
	r.files = append(r.files, fileRow{filepath.Base(path), action, why})
}

// mayRun tells whether a group may still run that is, or may be, of the runners in question:
// a tag that says so is missing, or the list of this host's runners could not be read.
func (r *reaping) mayRun(g *reaped) bool {
	runner := runnerOf(g.Tags)
	return g.left() && !g.Terminal() &&
		(r.unread || g.action == actionFailed || r.runners.has(runner) || runner.Runner == "" || runner.Instance == "")
}

// print writes the tables, and how many container groups are left: see mayRun.
func (r *reaping) print() error {
	left := 0
	w := tabwriter.NewWriter(r.Stdout, 0, 0, 2, ' ', 0)
	if len(r.groups) > 0 {
		fmt.Fprintln(w, "GROUP\tNAME\tSTATUS\tEXPIRES\tACTION\tWHY") //nolint:errcheck // Flush tells
	}
	for i := range r.groups {
		g := &r.groups[i]
		expires := "?"
		if at := expiry(g.Tags); !at.IsZero() {
			expires = at.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.Name, g.Status, expires, g.action, g.why) //nolint:errcheck // Flush tells
		if r.mayRun(g) {
			left++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.files) > 0 {
		fmt.Fprintln(w, "STATE FILE\tACTION\tWHY") //nolint:errcheck // Flush tells
	}
	for _, f := range r.files {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.path, f.action, f.why) //nolint:errcheck // Flush tells
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.runners.empty() {
		if _, err := fmt.Fprintf(r.Stdout, "No runner of this host is known (%s): set runner_name in the driver's file, or name one with --runner\n", r.Config.StateDir); err != nil {
			return err
		}
	}
	_, err := io.WriteString(r.Stdout, fmt.Sprintf("%d container groups left\n", left))
	return err
}
