package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Problem is one mistake in the driver's file.
type Problem struct {
	File string
	Line int    // from 1; 0 where the mistake is what is not there
	Key  string // dotted, tables of an array numbered from 0: "nas[0].server"; "" for syntax
	Text string // what is wrong and what to write; never a secret
}

// Error gives place, key and text on one line.
func (p *Problem) Error() string {
	place := p.File
	if p.Line > 0 {
		place = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Key == "" {
		return place + ": " + p.Text
	}
	key := p.Key
	if strings.ContainsFunc(key, unicode.IsControl) {
		key = strconv.Quote(key) // one mistake, one line
	}
	return place + ": " + key + ": " + p.Text
}

// joinProblems orders by line, those without one last, then by key, and joins; nil for
// none.
func joinProblems(problems []*Problem) error {
	line := func(p *Problem) int {
		if p.Line == 0 {
			return math.MaxInt
		}
		return p.Line
	}
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(line(a), line(b)), cmp.Compare(a.Key, b.Key))
	})
	errs := make([]error, 0, len(problems))
	for _, p := range problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}
