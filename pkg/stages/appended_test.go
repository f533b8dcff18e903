package stages

import "testing"

// What is new in an answer about a container's log is told by where it joins the
// one before.
func TestAppended(t *testing.T) {
	tests := []struct {
		name, last, text string
		added            string
		whole            bool
	}{
		{"the first answer", "", "a\nb\n", "a\nb\n", true},
		{"nothing new", "a\nb\n", "a\nb\n", "", true},
		{"a line more", "a\nb\n", "a\nb\nc\n", "c\n", true},
		{"the oldest line is gone", "a\nb\n", "b\nc\n", "c\n", true},
		{"a line without its end", "a\nb", "a\nbc\n", "c\n", true},
		{"an empty log stays one", "", "", "", true},
		{"told as empty", "a\nb\n", "", "", true},
		{"they don't join", "a\nb\n", "x\ny\n", "x\ny\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if added, whole := appended(tt.last, tt.text); added != tt.added || whole != tt.whole {
				t.Errorf("%q, whole %v, want %q and %v", added, whole, tt.added, tt.whole)
			}
		})
	}
}
