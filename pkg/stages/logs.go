package stages

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// LogOptions say what Logs shows.
type LogOptions struct {
	Follow    bool
	Container string // its own log, as ECI keeps it; "" = that of the running stage
}

// logEvery is the pause between two looks at a container's own log, which has no
// cursor; ECI allows 500 for all of an account in a minute (sources.md: log, limits).
const logEvery = 3 * time.Second

// Logs writes the log of the stage that runs, else of the last that ran, to
// Stdout: from its beginning, byte for byte, with Follow until the stage ends. The
// group's containers and events go to Stderr. name is a job id, a group id or a
// group's name.
func (o *Operator) Logs(ctx context.Context, name string, options LogOptions) error {
	g, err := o.find(ctx, name)
	if err != nil {
		return err
	}
	if options.Container != "" {
		if err := hasContainer(g, options.Container); err != nil {
			return err
		}
		o.introduce(g)
		return o.containerLog(ctx, g.ID, options)
	}
	o.introduce(g)
	if err := serves(g, helperContainer); err != nil {
		return fmt.Errorf("%w; the logs of its stages ended with it, --container NAME shows what ECI keeps of a container", err)
	}
	_, stage := o.known(g)
	result, err := o.session(g.ID).ReadLog(ctx, options.Follow, func(role remote.Role) {
		o.note("Log of %s, in %s:", cmp.Or(stage.Stage, "the newest stage"), role)
	})
	if err != nil {
		return fmt.Errorf("reading the log of container group %s: %w", g.ID, err)
	}
	switch result.Status {
	case "running":
		o.note("The stage runs on; --follow waits for its end")
	case "lost":
		o.note("The stage has ended, nobody knows how")
	default:
		o.note("The stage has ended with exit status %s", result.Status)
	}
	return nil
}

// serves says why nothing can be started in a group's container; nil where it can.
func serves(g *eci.Group, name string) error {
	switch c := g.Container(name); {
	case g.Terminal() || g.Status == statusTerminating:
		return fmt.Errorf("container group %s has ended%s", g.ID, stateOf(g))
	case c == nil || c.State != "Running":
		return fmt.Errorf("container %s of container group %s does not run%s", name, g.ID, stateOf(g))
	}
	return nil
}

// introduce tells what a group is, and what ECI has said of it.
func (o *Operator) introduce(g *eci.Group) {
	o.note("Container group %s (%s)%s", g.ID, g.Name, stateOf(g))
	for _, e := range g.Events {
		when := e.Last
		if when.IsZero() {
			when = e.First
		}
		o.note("  %s %s", when.UTC().Format(time.RFC3339), clean(fmt.Sprintf("%s %s: %s", e.Type, e.Reason, strings.TrimSpace(e.Message))))
	}
}

// containerLog writes what a container's own process has written, as ECI keeps it:
// the last 2000 lines, 1 MiB at most.
func (o *Operator) containerLog(ctx context.Context, id string, options LogOptions) error {
	last := ""
	for first := true; ; first = false {
		var ended error
		if options.Follow {
			ended = o.containerEnded(ctx, id, options.Container) // before the log, so that its last words are read
		}
		var text string
		err := eci.Persist(ctx, askingLimit, func() (err error) {
			text, err = o.API.DescribeContainerLog(ctx, id, options.Container)
			return err
		})
		switch {
		case err != nil && ended != nil && !first:
			return nil // it went with its group
		case err != nil:
			return withAdvice(err)
		}
		added, whole := appended(last, text)
		if !whole {
			o.note("(more was written between two looks than ECI tells at once: lines are missing here)")
		}
		if _, err := io.WriteString(o.Stdout, added); err != nil {
			return fmt.Errorf("writing the log: %w", err)
		}
		if !options.Follow || ended != nil {
			return nil
		}
		if text != "" { // an empty answer does not undo what was shown
			last = text
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.Clock.After(logEvery):
		}
	}
}

// containerEnded says why a container will write nothing more; nil while it may.
func (o *Operator) containerEnded(ctx context.Context, id, name string) error {
	groups, err := o.API.DescribeContainerGroups(ctx, eci.Query{IDs: []string{id}})
	if err == nil && len(groups) > 0 {
		if c := groups[0].Container(name); c != nil && c.State == "Waiting" {
			return nil
		}
		return serves(&groups[0], name)
	}
	return o.ended(ctx, id)
}

// appended is what text, the log of a container, has beyond last, an earlier answer. ECI may
// have dropped the oldest lines since; whole is false where it has dropped so many that
// lines in between are lost.
func appended(last, text string) (added string, whole bool) {
	for rest := last; rest != ""; {
		if strings.HasPrefix(text, rest) {
			return text[len(rest):], true
		}
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return text, last == "" || text == ""
}
