package stages

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Operator answers a person's questions about the driver's groups: PS, Logs and Shell. It
// changes nothing, needs no job, and works from any host that may call the API. What only
// the runner's host knows comes from state_dir, where it is.
type Operator struct {
	Config *config.Config
	API    API
	Clock  Clock // of this host; ages of groups are reckoned by the server's
	Stdout io.Writer
	Stderr io.Writer
	Logger logrus.FieldLogger
	Remote remote.Settings
}

// askingLimit is how long a call for a person is repeated that gets no usable answer.
const askingLimit = 10 * time.Second

// list asks for groups, and for as long as limit again where no usable answer comes.
func list(ctx context.Context, api API, q eci.Query, limit time.Duration) (listing eci.Listing, err error) {
	err = eci.Persist(ctx, limit, func() (err error) {
		listing, err = api.ListContainerGroups(ctx, q)
		return err
	})
	return listing, err
}

// listOwn lists the driver's groups in the API's region, those of all its runners and hosts.
func listOwn(ctx context.Context, api API, region string, q eci.Query, limit time.Duration) (eci.Listing, error) {
	q.Tags = map[string]string{tagManagedBy: DriverName}
	listing, err := list(ctx, api, q, limit)
	if err != nil {
		return listing, fmt.Errorf("looking for container groups in %s: %w", region, err)
	}
	// A server that filters nothing lists others' groups.
	listing.Groups = slices.DeleteFunc(listing.Groups, func(g eci.Group) bool { return g.Tags[tagManagedBy] != DriverName })
	return listing, nil
}

// own lists the driver's groups, sorted by job and age, with the time of ECI's clock: zero
// where the answer tells none.
func (o *Operator) own(ctx context.Context, q eci.Query) ([]eci.Group, time.Time, error) {
	listing, err := listOwn(ctx, o.API, o.Config.Region, q, askingLimit)
	if err != nil {
		return nil, time.Time{}, withAdvice(err)
	}
	groups := listing.Groups
	slices.SortStableFunc(groups, func(a, b eci.Group) int {
		return cmp.Or(cmp.Compare(jobOf(&a), jobOf(&b)), a.CreationTime.Compare(b.CreationTime), cmp.Compare(a.ID, b.ID))
	})
	return groups, listing.Date, nil
}

// stage is a stage without a job, of which only the parts that ask for prices and execs are
// used.
func (o *Operator) stage() *Stage {
	return &Stage{Config: o.Config, API: o.API, Clock: o.Clock, Logger: o.Logger}
}

// session reads what the scripts of a group print, beside the driver that runs them.
func (o *Operator) session(id string) *remote.Session {
	return &remote.Session{Open: o.stage().socket(id), Diagnose: func(ctx context.Context) error { return o.ended(ctx, id) },
		Output: o.Stdout, Notices: o.Stderr, Settings: o.Remote, Logger: o.Logger}
}

// ended says that a group has ended or is gone; nil while it lives, and where ECI does not
// answer.
func (o *Operator) ended(ctx context.Context, id string) error {
	var groups []eci.Group
	err := eci.Persist(ctx, 3*time.Second, func() (err error) {
		groups, err = o.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{id}})
		return err
	})
	switch {
	case eci.ClassOf(err) == eci.NotFound, err == nil && len(groups) == 0:
		return fmt.Errorf("container group %s is gone: its job is over, or somebody has deleted it", id)
	case err != nil:
		return nil
	}
	if g := &groups[0]; g.Terminal() || g.Status == statusTerminating {
		return fmt.Errorf("container group %s has ended%s", id, stateOf(g))
	}
	return nil
}

// note tells a person something beside what was asked for.
func (o *Operator) note(format string, args ...any) {
	fmt.Fprintf(o.Stderr, format+"\n", args...) //nolint:errcheck // what was asked for goes to stdout
}

// jobOf is the number of a group's job, 0 where its tag is none.
func jobOf(g *eci.Group) int64 {
	n, _ := strconv.ParseInt(g.Tags[tagJob], 10, 64) // 0 with an error
	return n
}

// known is what state_dir of this host has of a group's attempt: its record and the stage
// that runs. Both are empty where another host has made the group.
func (o *Operator) known(g *eci.Group) (Record, progress) {
	if strings.ContainsRune(g.Tags[tagAttempt], '/') { // tags are anybody's
		return Record{}, progress{}
	}
	s := store{o.Config.StateDir}
	path := s.recordPath(&Job{Instance: g.Tags[tagInstance], ID: jobOf(g), Attempt: g.Tags[tagAttempt]})
	var r Record
	if !loadCache(path, &r) || r.GroupID != "" && r.GroupID != g.ID {
		return Record{}, progress{}
	}
	p := s.stageOf(path)
	if !r.Over.IsZero() {
		p = progress{Stage: "cleanup", Since: r.Over}
	}
	return r, p
}
