// Package pattern has regular expressions that are compiled when they are first asked for:
// the driver starts afresh for each stage of a job, which needs few of them.
package pattern

import (
	"regexp"
	"sync"
)

// Lazy is a pattern that must compile.
func Lazy(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
