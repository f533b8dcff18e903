package check

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
)

// Assumption is something that nobody documents, which a group that runs can show.
type Assumption struct {
	Switch string // of the local ECI, which stands for it (docs/architecture.md); "" = none does
	Name   string // of what has no switch
	What   string // is unknown

	ask   func(ctx context.Context, l *live) (verdict, error) // while the group runs
	after func(l *live) (verdict, error)                      // once it is gone
}

// verdict is what the live service does: the value of the switch, and in words.
type verdict struct{ value, says string }

// errNotTold says that nothing was seen either way.
var errNotTold = errors.New("this time nothing told")

// yesNo is the verdict of a switch that is true or false.
func yesNo(is bool, yes, no string) (verdict, error) {
	if is {
		return verdict{"true", yes}, nil
	}
	return verdict{"false", no}, nil
}

// Assumptions lists what --live asks, in its order; docs/check.md shows it.
func Assumptions() []Assumption {
	return slices.Concat(execAssumptions(), requestAssumptions(), groupAssumptions(), nameless())
}

// assume asks for one while the group runs.
func (l *live) assume(ctx context.Context, a Assumption) Line {
	ctx, cancel := context.WithTimeout(ctx, callLimit+4*l.Settle)
	defer cancel()
	return l.judged(a, func(l *live) (verdict, error) { return a.ask(ctx, l) })
}

func (l *live) judged(a Assumption, ask func(*live) (verdict, error)) Line {
	v, err := ask(l)
	name := cmp.Or(a.Switch, a.Name)
	line := skipped("%s is not told: %v", name, err)
	if err == nil {
		line = ok("%s = %s: %s", name, shown(v.value), v.says)
		line.Value = v.value
	}
	return line.named(assumptionCheck).of(name)
}

// shown puts quotes around what is neither a truth value nor a number nor a time.
func shown(value string) string {
	if value == "" || value[0] >= 'A' && value[0] <= 'Z' {
		return strconv.Quote(value)
	}
	return value
}
