package eci

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redacted is p fit to be shown: registry passwords and the values of
// environment variables are masked, config files named by their size alone.
func (p Params) Redacted() Params {
	secret := regexp.MustCompile(`(?i)password|secret|\.EnvironmentVar\.\d+\.Value$`) // also in [group] request
	content := regexp.MustCompile(`\.ConfigFileToPath\.\d+\.Content$`)
	shown := Params{}
	for key, value := range p {
		switch {
		case secret.MatchString(key):
			value = "[masked]"
		case content.MatchString(key):
			value = fmt.Sprintf("[%d bytes of base64]", len(value))
		}
		shown[key] = value
	}
	return shown
}

// Lines are p as "Key = value", one each, in the order of the keys with numbers
// counted: Container.2 before Container.10.
func (p Params) Lines() []string {
	var lines []string
	for _, key := range slices.SortedFunc(maps.Keys(p), compareKeys) {
		lines = append(lines, fmt.Sprintf("%s = %q", key, p[key]))
	}
	return lines
}

func compareKeys(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
}
