package ecitest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseRules reads rules in their text form, TARGET:KEY=VALUE,KEY=VALUE,...
//
//	CreateContainerGroup:error=503,times=2,probability=0.5
//	*:delay=200ms
//	exec:where=ContainerName=helper,drop=1000,times=3
//	group:reclaim,after=2s,notice=1s
//
// TARGET is an API action, * for all, exec or group. A value that holds a comma
// or a quote is written as a Go string. RuleHelp lists the keys. All mistakes are
// reported at once, each with its rule.
func ParseRules(texts ...string) (Rules, error) {
	var rules Rules
	var errs []error
	for _, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			errs = append(errs, err)
		}
		rules = append(rules, r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return rules, nil
}

func parseRule(text string) (Rule, error) {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("fault %q: %w", text, fmt.Errorf(format, args...)))
	}
	target, rest, ok := strings.Cut(text, ":")
	r := Rule{Target: strings.TrimSpace(target)}
	if !ok || rest == "" {
		fail("must be TARGET:KEY=VALUE,...")
		return r, errors.Join(errs...)
	}
	known := isTarget(r.Target)
	keys := keysOf(r.Target)
	if !known {
		fail("target %q is neither an API action nor *, exec or group", r.Target)
	}
	items, err := splitItems(rest)
	if err != nil {
		fail("%w", err)
	}
	seen := map[string]bool{}
	for _, item := range items {
		i := slices.IndexFunc(keys, func(k ruleKey) bool { return k.name == item.key })
		if i < 0 {
			if known { // otherwise nobody knows which keys it has
				fail("%s has no key %q; it has %s", r.Target, item.key, keyNames(keys))
			}
			continue
		}
		switch k := keys[i]; {
		case seen[k.name] && !k.repeats:
			fail("%s is given twice", k.name)
		case k.flag && item.given:
			fail("%s takes no value", k.name)
		case !k.flag && !k.optional && !item.given:
			fail("%s needs a value: %s=%s", k.name, k.name, k.value)
		default:
			if err := k.set(&r, item.value); err != nil {
				fail("%s: %w", k.name, err)
			}
		}
		seen[item.key] = true
	}
	if known && len(errs) == 0 {
		if err := r.check(); err != nil {
			fail("%w", err)
		}
	}
	return r, errors.Join(errs...)
}

// check finds what each key alone can't.
func (r Rule) check() error {
	effects := false
	for _, k := range keysOf(r.Target) {
		if _, set := k.get(r); set && k.kind != kindAny {
			effects = true
		}
	}
	group := r.Group
	switch strikes := group.Kill != "" || group.Reclaim || group.Delete; {
	case !effects:
		return errors.New("names nothing that goes wrong")
	case more(r.Call.Code != "", r.Call.CutBefore || r.Call.CutAfter, r.Call.Truncate):
		return errors.New("error, cut and truncate exclude each other")
	case r.Call.Message != "" && r.Call.Code == "":
		return errors.New("message needs error")
	case r.Exec.DropFrom != "" && !r.Exec.Drop:
		return errors.New("drop-from needs drop or half-open")
	case r.Exec.DropFromSkip > 0 && r.Exec.DropFrom == "":
		return errors.New("drop-from-skip needs drop-from")
	case group.Message != "" && group.ScheduleFailed == "":
		return errors.New("message needs schedule-failed")
	case group.After > 0 && !strikes:
		return errors.New("after needs kill, reclaim or delete")
	case group.OOM && group.Kill == "":
		return errors.New("oom needs kill")
	case group.Notice > 0 && !group.Reclaim:
		return errors.New("notice needs reclaim")
	}
	return nil
}

// more tells whether more than one holds.
func more(conditions ...bool) bool {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n > 1
}

// String is the text that ParseRules reads as this rule.
func (r Rule) String() string {
	var items []string
	for _, k := range keysOf(r.Target) {
		values, set := k.get(r)
		if !set {
			continue
		}
		if len(values) == 0 {
			items = append(items, k.name)
		}
		for _, v := range values {
			items = append(items, k.name+"="+quoteValue(v))
		}
	}
	return r.Target + ":" + strings.Join(items, ",")
}

// Strings are the rules' texts.
func (rules Rules) Strings() []string {
	texts := make([]string, len(rules))
	for i, r := range rules {
		texts[i] = r.String()
	}
	return texts
}

// item is one KEY=VALUE, or KEY alone.
type item struct {
	key, value string
	given      bool // there is a value
}

// splitItems cuts at commas outside of quotes.
func splitItems(text string) ([]item, error) {
	var items []item
	for more := true; more; {
		var it item
		end := strings.IndexAny(text, ",=")
		if end < 0 {
			end = len(text)
		}
		it.key, text = strings.TrimSpace(text[:end]), text[end:]
		if it.key == "" {
			return items, errors.New("a key is empty")
		}
		if text, it.given = strings.CutPrefix(text, "="); it.given {
			var err error
			if it.value, text, err = cutValue(text); err != nil {
				return items, fmt.Errorf("%s: %w", it.key, err)
			}
		}
		items = append(items, it)
		text, more = strings.CutPrefix(text, ",")
	}
	return items, nil
}

// cutValue takes a value off; what is left is empty or begins with a comma.
func cutValue(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], nil
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", errors.New("the quotes do not end")
	}
	rest = text[len(quoted):]
	if rest != "" && rest[0] != ',' {
		return "", "", fmt.Errorf("%q follows the quotes", rest)
	}
	value, err = strconv.Unquote(quoted)
	return value, rest, err
}

// quoteValue is v as cutValue takes it off.
func quoteValue(v string) string {
	if v == "" || strings.ContainsAny(v, ",\"\\\r\n") {
		return strconv.Quote(v)
	}
	return v
}
