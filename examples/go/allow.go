// Package allow tells which images a job may use.
package allow

import "github.com/bmatcuk/doublestar/v4"

// Image tells whether one of the patterns fits the image's name.
func Image(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := doublestar.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}
