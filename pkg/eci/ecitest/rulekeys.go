package ecitest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleKey is one key of a rule's text form, both ways.
type ruleKey struct {
	kind     ruleKind
	name     string
	value    string // what stands behind the =, for people
	help     string
	flag     bool // it has no value
	optional bool // it may have no value
	repeats  bool
	set      func(*Rule, string) error
	get      func(Rule) (values []string, set bool) // no value = the name alone
}

// ruleKind says which targets have a key.
type ruleKind int

const (
	kindAny ruleKind = iota
	kindCall
	kindExec
	kindGroup
)

func kindOf(target string) ruleKind {
	switch target {
	case targetExec:
		return kindExec
	case targetGroup:
		return kindGroup
	}
	return kindCall
}

func isTarget(target string) bool {
	_, isAction := allActions()[target]
	return isAction || slices.Contains([]string{targetAll, targetExec, targetGroup}, target)
}

// keysOf are the keys of a target, in the order of String: what goes wrong, then when.
func keysOf(target string) []ruleKey {
	switch kindOf(target) {
	case kindExec:
		return slices.Concat(whereKeys(), execKeys(), whenKeys())
	case kindGroup:
		return slices.Concat(whereKeys(), groupKeys(), whenKeys())
	}
	return slices.Concat(whereKeys(), callKeys(), whenKeys())
}

func keyNames(keys []ruleKey) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

// RuleHelp lists the keys for people.
func RuleHelp() string {
	var b strings.Builder
	section := func(title string, keys []ruleKey) {
		fmt.Fprintf(&b, "%s\n", title)
		for _, k := range keys {
			value := k.value
			switch {
			case k.optional:
				value = "[=" + value + "]"
			case !k.flag:
				value = "=" + value
			}
			fmt.Fprintf(&b, "  %-34s %s\n", k.name+value, k.help)
		}
	}
	section("any target:", slices.Concat(whereKeys(), whenKeys()))
	section("an API action, or * for all:", callKeys())
	section("exec, the socket of an ExecContainerCommand:", execKeys())
	section("group, a container group that is created:", groupKeys())
	return b.String()
}

func whereKeys() []ruleKey {
	return []ruleKey{{
		kind: kindAny, name: "where", value: "NAME=PATTERN", repeats: true,
		help: "only where the call's parameter is like that; * is any text",
		set: func(r *Rule, v string) error {
			name, pattern, ok := strings.Cut(v, "=")
			if !ok || name == "" {
				return fmt.Errorf("%q is not NAME=PATTERN", v)
			}
			r.Where = append(r.Where, Condition{name, pattern})
			return nil
		},
		get: func(r Rule) (values []string, set bool) {
			for _, c := range r.Where {
				values = append(values, c.Name+"="+c.Pattern)
			}
			return values, len(values) > 0
		},
	}}
}

func whenKeys() []ruleKey {
	return []ruleKey{
		intKey(kindAny, "skip", "leave so many alone first", func(r *Rule) *int { return &r.Skip }),
		intKey(kindAny, "times", "strike so often, then no more", func(r *Rule) *int { return &r.Times }),
		{
			kind: kindAny, name: "probability", value: "P", help: "of striking each time, above 0, at most 1",
			set: func(r *Rule, v string) (err error) {
				r.Probability, err = strconv.ParseFloat(v, 64)
				if err != nil || !(r.Probability > 0 && r.Probability <= 1) {
					return fmt.Errorf("%q is not a number above 0 and at most 1", v)
				}
				return nil
			},
			get: func(r Rule) ([]string, bool) {
				return []string{strconv.FormatFloat(r.Probability, 'g', -1, 64)}, r.Probability > 0
			},
		},
	}
}

func flagKey(kind ruleKind, name, help string, field func(*Rule) *bool) ruleKey {
	return ruleKey{
		kind: kind, name: name, help: help, flag: true,
		set: func(r *Rule, _ string) error { *field(r) = true; return nil },
		get: func(r Rule) ([]string, bool) { return nil, *field(&r) },
	}
}

func intKey(kind ruleKind, name, help string, field func(*Rule) *int) ruleKey {
	return ruleKey{
		kind: kind, name: name, value: "N", help: help,
		set: func(r *Rule, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a number from 1", v)
			}
			*field(r) = n
			return nil
		},
		get: func(r Rule) ([]string, bool) { n := *field(&r); return []string{strconv.Itoa(n)}, n != 0 },
	}
}

// bytesKey is for a fault after a number of bytes, which may be 0.
func bytesKey(kind ruleKind, name, help string, fields func(*Rule) (*bool, *int64)) ruleKey {
	return ruleKey{
		kind: kind, name: name, value: "BYTES", help: help,
		set: func(r *Rule, v string) error {
			n, err := strconv.ParseUint(v, 10, 62)
			if err != nil {
				return fmt.Errorf("%q is not a number of bytes", v)
			}
			on, at := fields(r)
			*on, *at = true, int64(n)
			return nil
		},
		get: func(r Rule) ([]string, bool) {
			on, at := fields(&r)
			return []string{strconv.FormatInt(*at, 10)}, *on
		},
	}
}

// timeKey is for a duration; zero is allowed where it says what is so anyhow.
func timeKey(kind ruleKind, name, help string, least time.Duration, field func(*Rule) *time.Duration) ruleKey {
	return ruleKey{
		kind: kind, name: name, value: "TIME", help: help,
		set: func(r *Rule, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil || d < least {
				return fmt.Errorf("%q is not a time such as 200ms or 2s", v)
			}
			*field(r) = d
			return nil
		},
		get: func(r Rule) ([]string, bool) { d := *field(&r); return []string{d.String()}, d != 0 },
	}
}

// textKey is for a text; standIn, if any, is the text where the key stands without a value.
func textKey(kind ruleKind, name, value, help, standIn string, field func(*Rule) *string) ruleKey {
	return ruleKey{
		kind: kind, name: name, value: value, help: help, optional: standIn != "",
		set: func(r *Rule, v string) error {
			setDefault(&v, standIn)
			if v == "" {
				return errors.New("the value is empty")
			}
			*field(r) = v
			return nil
		},
		get: func(r Rule) ([]string, bool) { v := *field(&r); return []string{v}, v != "" },
	}
}

// choiceKey is for one of a few words.
func choiceKey(kind ruleKind, name, help string, words []string, set func(*Rule, string), get func(Rule) string) ruleKey {
	return ruleKey{
		kind: kind, name: name, value: strings.Join(words, "|"), help: help,
		set: func(r *Rule, v string) error {
			if !slices.Contains(words, v) {
				return fmt.Errorf("%q is not %s", v, strings.Join(words, " or "))
			}
			set(r, v)
			return nil
		},
		get: func(r Rule) ([]string, bool) { v := get(r); return []string{v}, v != "" },
	}
}
