package stages

import (
	"context"
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// One answer without a group proves nothing: a new group may not be listed at once, and
// nobody documents how late the list may be.
const (
	absences     = 3                // answers in a row without a group after which it counts as gone ...
	absencesOver = 10 * time.Second // ... if there is as much time between the first and the last of them
	unlistedOver = 45 * time.Second // the same for a new group that was never listed
)

// watcher looks at one group and remembers what it has seen.
type watcher struct {
	stage  *Stage
	id     string
	ask    func(ctx context.Context, f func() error) error // repeats a call that gets no usable answer
	fresh  bool                                            // the group may be too new to be listed
	listed bool                                            // it was, at least once
	absent int                                             // answers without it since
	since  time.Time                                       // the first of these
	first  map[string]time.Time                            // when an event was seen for the first time, by reason and message
}

// look describes the group once. It returns nil without an error where the group is absent
// but may yet be listed, and an error once it counts as gone.
func (w *watcher) look(ctx context.Context) (*eci.Group, error) {
	var groups []eci.Group
	err := w.ask(ctx, func() (err error) {
		groups, err = w.stage.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{w.id}, WithEvent: true})
		return err
	})
	switch {
	case eci.ClassOf(err) == eci.NotFound:
	case err != nil:
		return nil, err
	case len(groups) > 0:
		w.absent, w.listed = 0, true
		return &groups[0], nil
	}
	now := w.stage.Clock.Now()
	if w.absent == 0 {
		w.since = now
	}
	w.absent++
	unlisted, limit := w.fresh && !w.listed, absencesOver
	if unlisted {
		limit = unlistedOver
	}
	switch {
	case w.absent < absences || now.Sub(w.since) < limit:
		return nil, nil
	case !unlisted:
		return nil, w.vanished()
	}
	return nil, fmt.Errorf("container group %s was accepted, but ECI does not list it: it was deleted by somebody else, or the driver's RAM user lacks eci:DescribeContainerGroups, which gives an empty answer", w.id)
}

func (w *watcher) vanished() error {
	return fmt.Errorf("container group %s does not exist any more: it was deleted by somebody else, or ECI has forgotten it", w.id)
}

// seenFor is how long ago the event was seen for the first time.
func (w *watcher) seenFor(e eci.Event) time.Duration {
	now, key := w.stage.Clock.Now(), e.Reason+e.Message
	if _, seen := w.first[key]; !seen {
		w.first[key] = now
	}
	return now.Sub(w.first[key])
}
