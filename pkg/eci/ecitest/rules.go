package ecitest

import (
	"math/rand/v2"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// The targets of a Rule that are no API actions.
const (
	targetAll   = "*"
	targetExec  = "exec"
	targetGroup = "group"
)

// Rule is a fault as data: what goes wrong, with which calls, how often. Its
// text form is read by ParseRules and written by String.
type Rule struct {
	// Target is an API action, "*" for all actions, "exec" for exec sockets or
	// "group" for container groups.
	Target string
	Where  []Condition // all of them hold

	Skip        int     // matches that pass unharmed first
	Times       int     // how often it strikes after these; 0 = without end
	Probability float64 // of striking, each time; 0 = 1

	Call  CallFault  // for an action or "*"
	Exec  ExecFault  // for "exec"
	Group GroupFault // for "group"
}

// Condition holds for a call whose parameter Name matches Pattern, in which *
// stands for any text, none included.
type Condition struct{ Name, Pattern string }

// Rules are the faults of a server. Where several strike at once, what a later
// one says goes over what an earlier one said.
type Rules []Rule

// engine is the state of Rules while a server runs. Equal seeds make equal
// decisions about equal calls in equal order.
type engine struct {
	mu     sync.Mutex
	random *rand.Rand
	rules  []*ruleState
}

func newEngine(rules Rules, seed uint64) *engine {
	e := &engine{random: rand.New(rand.NewPCG(seed, 0))}
	for _, r := range rules {
		e.rules = append(e.rules, newRuleState(r))
	}
	return e
}

// strike gives the rules of some targets that strike a call with parameters v.
func (e *engine) strike(v url.Values, targets ...string) []Rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	var struck []Rule
	for _, r := range e.rules {
		if slices.Contains(targets, r.Target) && r.holds(v) && r.due(e.random) {
			struck = append(struck, r.Rule)
		}
	}
	return struck
}

type ruleState struct {
	Rule
	where   []*regexp.Regexp
	matched int
	struck  int
}

func newRuleState(r Rule) *ruleState {
	s := &ruleState{Rule: r}
	for _, c := range r.Where {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(c.Pattern), `\*`, `.*`)
		s.where = append(s.where, regexp.MustCompile(`(?s)^`+pattern+`$`))
	}
	return s
}

func (r *ruleState) holds(v url.Values) bool {
	for i, cond := range r.Where {
		if !r.where[i].MatchString(v.Get(cond.Name)) {
			return false
		}
	}
	return true
}

// due counts a match.
func (r *ruleState) due(random *rand.Rand) bool {
	r.matched++
	if r.matched <= r.Skip || r.Times > 0 && r.struck >= r.Times {
		return false
	}
	if r.Probability > 0 && random.Float64() >= r.Probability {
		return false
	}
	r.struck++
	return true
}

// overlay sets the fields of to that from sets.
func overlay[F any](to *F, from F) {
	target, source := reflect.ValueOf(to).Elem(), reflect.ValueOf(from)
	for i := range source.NumField() {
		if !source.Field(i).IsZero() {
			target.Field(i).Set(source.Field(i))
		}
	}
}
