package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// find returns the group that name stands for: a job id, a group id or a group's name. Of
// several groups it is the only one that has not ended; where not exactly one has not, the
// error lists them all.
func (o *Operator) find(ctx context.Context, name string) (*eci.Group, error) {
	groups, _, err := o.own(ctx, eci.Query{WithEvent: true})
	if err != nil {
		return nil, err
	}
	var named, live []eci.Group
	for _, g := range groups {
		if name != g.ID && name != g.Name && name != g.Tags[tagJob] {
			continue
		}
		named = append(named, g)
		if !g.Terminal() && g.Status != statusTerminating {
			live = append(live, g)
		}
	}
	switch {
	case len(named) == 0:
		return nil, fmt.Errorf("no container group of %s in %s has the job id, group id or name %q; ps lists them. ECI forgets a group an hour after its end, and shows none without the right to eci:DescribeContainerGroups", DriverName, o.Config.Region, name)
	case len(named) == 1:
		return &named[0], nil
	case len(live) == 1:
		return &live[0], nil
	}
	return nil, ambiguous(name, named)
}

func ambiguous(name string, groups []eci.Group) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be any of these container groups, say which by its id:\n", name)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, g := range groups {
		fmt.Fprintf(w, "  %s\t%s\t%s\tcreated %s\tof runner %s of %s\n", g.ID, g.Name, g.Status, //nolint:errcheck // into memory
			g.CreationTime.UTC().Format(time.RFC3339), g.Tags[tagRunner], g.Tags[tagInstance])
	}
	w.Flush() //nolint:errcheck // into memory
	return errors.New(strings.TrimRight(b.String(), "\n"))
}

// hasContainer fails where no container of the group has the name; it lists those there are.
func hasContainer(g *eci.Group, name string) error {
	if g.Container(name) != nil {
		return nil
	}
	var names []string
	for _, c := range g.Containers {
		names = append(names, c.Name)
	}
	return fmt.Errorf("container group %s has no container %q, but %s", g.ID, name, cmp.Or(strings.Join(names, ", "), "none at all"))
}
