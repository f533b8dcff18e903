package check

import (
	"context"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// recorder is the API of the live job's stages. It remembers what ECI did with the job's one
// group, which answers some of the assumptions. A pointer is nil where nothing was seen; an
// error code is "" where a call was accepted.
type recorder struct {
	*eci.Client
	w *world

	mu       sync.Mutex
	creates  bool // a create was sent
	groupID  string
	created  time.Time      // when that create was sent
	hidden   *time.Duration // until the group was listed first
	pending  *string        // the code of an exec in helper while the group was Pending
	watched  chan struct{}  // closed when hidden and pending will not change any more
	deleted  time.Time      // when the delete was sent that was accepted first; zero = not yet
	goneAt   time.Time      // when the group was not listed any more
	force    *string        // the code of a delete with Force
	deleting *string        // the code of a second delete
}

func newRecorder(w *world) *recorder {
	return &recorder{Client: w.client, w: w, watched: make(chan struct{})}
}

func (r *recorder) id() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groupID
}

// asked tells whether a create was ever sent.
func (r *recorder) asked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.creates
}

// wasDeleted tells whether a delete was accepted.
func (r *recorder) wasDeleted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.deleted.IsZero()
}

func (r *recorder) gone(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.goneAt = at
}

// CreateContainerGroup looks at once whether the group is listed.
func (r *recorder) CreateContainerGroup(ctx context.Context, p eci.Params) (string, error) {
	r.mu.Lock()
	r.creates = true
	r.mu.Unlock()
	sent := r.w.Clock.Now()
	id, err := r.Client.CreateContainerGroup(ctx, p)
	if err != nil {
		return id, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.created.IsZero()
	r.groupID, r.created = id, sent
	if first {
		go r.watch(ctx, id, r.created)
	}
	return id, nil
}

// watch looks at the new group until it has started, for hidden and pending.
func (r *recorder) watch(ctx context.Context, id string, created time.Time) {
	defer close(r.watched)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.w.cfg.Timeouts.Ready)
	defer cancel()
	for !r.wasDeleted() {
		groups, err := r.DescribeContainerGroups(ctx, eci.Query{IDs: []string{id}})
		if err == nil && len(groups) == 1 && !r.starting(ctx, &groups[0], r.w.Clock.Now().Sub(created)) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-r.w.Clock.After(endPause):
		}
	}
}

// starting takes in what the group is like, since being the time from its create, and tells
// whether there is more to be seen.
func (r *recorder) starting(ctx context.Context, g *eci.Group, since time.Duration) bool {
	r.mu.Lock()
	if r.hidden == nil {
		r.hidden = &since
	}
	r.mu.Unlock()
	if helper := g.Container("helper"); g.Status == "Pending" && helper != nil && helper.State == "Running" {
		_, err := r.Ask(ctx, "ExecContainerCommand", eci.Params{"ContainerGroupId": g.ID, "ContainerName": "helper",
			"Command": `["true"]`, "TTY": "false", "Stdin": "true"})
		if code := eci.CodeOf(err); err == nil && r.stillPending(ctx, g.ID) || code == "IncorrectStatus" {
			r.mu.Lock()
			r.pending = &code
			r.mu.Unlock()
			return false
		}
	}
	return g.Status == "Scheduling" || g.Status == "Pending"
}

// stillPending tells whether the group was Pending until now, so that what was accepted before
// was accepted then.
func (r *recorder) stillPending(ctx context.Context, id string) bool {
	groups, err := r.DescribeContainerGroups(ctx, eci.Query{IDs: []string{id}})
	return err == nil && len(groups) == 1 && groups[0].Status == "Pending"
}

// DeleteContainerGroup notes whether Force is taken, and what a second delete gives.
func (r *recorder) DeleteContainerGroup(ctx context.Context, id string, force bool) error {
	sent := r.w.Clock.Now()
	if err := r.delete(ctx, id, force); err != nil {
		return err
	}
	r.mu.Lock()
	first := r.deleted.IsZero()
	if first {
		r.deleted = sent
	}
	r.mu.Unlock()
	if !first {
		return nil
	}
	_, again := r.Ask(ctx, "DeleteContainerGroup", eci.Params{"ContainerGroupId": id})
	if !eci.Ambiguous(again) {
		code := eci.CodeOf(again)
		r.mu.Lock()
		r.deleting = &code
		r.mu.Unlock()
	}
	return nil
}

func (r *recorder) delete(ctx context.Context, id string, force bool) error {
	if !force {
		return r.Client.DeleteContainerGroup(ctx, id, false)
	}
	_, err := r.Ask(ctx, "DeleteContainerGroup", eci.Params{"ContainerGroupId": id, "Force": "true"})
	if eci.Ambiguous(err) {
		return err
	}
	if code := eci.CodeOf(err); code == "" || code == "UnsupportedOperation" || code == "InvalidParameter" {
		r.mu.Lock()
		r.force = &code
		r.mu.Unlock()
	}
	if err == nil {
		return nil
	}
	return r.Client.DeleteContainerGroup(ctx, id, true) // asks again without where Force is not known
}
