package messages

import (
	"regexp"
	"testing"
)

// inner shows what only Go programmers read: types, pointers and structs.
var inner = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*[Tp]|%(\[\d+\])?[+#][-+# 0]*v|&\{|\*errors\.|goroutine `)

// signed are parameters of a signed URL.
var signed = regexp.MustCompile(`(?i)signature=|accesskeyid=|securitytoken=|x-nls-token`)

// TestMessagesShowNothingInner: no message prints a Go type, a struct or a signed URL;
// what the API's client says of its calls is held at run time, in pkg/eci, and that no
// stack comes out in cmd/eci-executor.
func TestMessagesShowNothingInner(t *testing.T) {
	formats := 0
	for _, m := range append(inGo(t), inScripts(t)...) {
		if place(m) == nowhere {
			continue
		}
		if verb.MatchString(m.raw) {
			formats++
		}
		for _, never := range []*regexp.Regexp{inner, signed} {
			if found := never.FindString(m.raw); found != "" {
				t.Errorf("%s:%d: %q shows %q", m.file, m.line, m.raw, found)
			}
		}
	}
	if formats < 300 {
		t.Errorf("only %d formats were found in the code", formats)
	}
	for _, format := range []string{"failed: %T", "group %+v", "%#v", "at %p", "%[2]T"} {
		if !inner.MatchString(format) {
			t.Errorf("%q would pass", format)
		}
	}
}
