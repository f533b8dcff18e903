package stages

import (
	"fmt"
	"strings"
	"testing"
)

// What is new in a container's log is found by digests of what was shown.
func TestLogMark(t *testing.T) {
	var long strings.Builder
	for i := range 100 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	_, end, _ := strings.Cut(long.String(), "line 50\n")
	tests := []struct {
		name, shown, text string
		added             string
		whole             bool
	}{
		{"the first look", "", "a\nb\n", "a\nb\n", true},
		{"nothing new", "a\nb\n", "a\nb\n", "", true},
		{"a line more", "a\nb\n", "a\nb\nc\n", "c\n", true},
		{"the same line again", "a\na\n", "a\na\na\n", "a\n", true},
		{"the oldest lines are gone", long.String(), end + "more\n", "more\n", true},
		{"the oldest lines are gone, nothing new", long.String(), end, "", true},
		{"they don't join", long.String(), "x\ny\n", "x\ny\n", false},
		{"an end without a newline", "a\n", "a\nb", "b", true},
		{"an empty log stays one", "", "", "", true},
		{"the log is gone", "a\n", "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if added, whole := (logMark{}).next(tt.shown).after(tt.text); added != tt.added || whole != tt.whole {
				t.Errorf("%q, whole %v, want %q and %v", added, whole, tt.added, tt.whole)
			}
		})
	}
}

// A log that is told as empty once goes on after that where it was.
func TestLogMarkOfALogToldAsEmpty(t *testing.T) {
	mark := (logMark{}).next("a\nb\n").next("")
	if added, whole := mark.after("a\nb\nc\n"); added != "c\n" || !whole {
		t.Errorf("%q, whole %v, want the third line alone", added, whole)
	}
}
