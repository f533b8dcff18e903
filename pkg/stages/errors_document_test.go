package stages

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

const errorsDocument = "../../docs/errors.md"

// tables are those of the document, by the name in their markers.
func tables() map[string]string {
	var codes, events, starts strings.Builder
	row := func(b *strings.Builder, cells ...string) {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	code := func(s string) string { return "`" + s + "`" }
	row(&codes, "code", "class", "what to do")
	row(&codes, "---", "---", "---")
	for _, c := range eci.Codes() {
		row(&codes, code(c.Pattern), c.Class.String(), c.Advice)
	}
	row(&events, "event", "class", "in words", "what to do")
	row(&events, "---", "---", "---", "---")
	for _, e := range eci.EventKinds() {
		row(&events, code(e.Reason), e.Class.String(), e.Words, e.Advice)
	}
	row(&starts, "what ECI says", "what it means", "the wait ends", "to be mended by", "what to do")
	row(&starts, "---", "---", "---", "---", "---")
	for _, p := range pullProblems() {
		row(&starts, code(p.words.String()), "pull: "+p.is, ends(p.passing), owner(p.owner, p.login), p.next)
	}
	for _, p := range bootProblems() {
		row(&starts, code(p.words.String()), "start: "+p.is, ends(false), owner(true, false), p.next)
	}
	for _, p := range mountProblems() {
		words := code(p.words.String())
		if p.words.String() == "" {
			words = "anything else"
		}
		row(&starts, words, "mount: the volume can't be mounted", ends(p.passing), owner(false, false), p.next)
	}
	return map[string]string{"codes": codes.String(), "events": events.String(), "starts": starts.String()}
}

func ends(passing bool) string {
	return map[bool]string{false: "at once", true: "when it lasts"}[passing]
}

func owner(named, login bool) string {
	switch {
	case login:
		return "whoever gave the login, else whoever named the image"
	case named:
		return "whoever named the image"
	}
	return operator.String()
}

// TestErrorsDocument holds docs/errors.md against the tables of the code.
func TestErrorsDocument(t *testing.T) {
	text, err := os.ReadFile(errorsDocument)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, table := range tables() {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		head, rest, ok := strings.Cut(got, begin)
		_, tail, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no markers of %s", errorsDocument, name)
		}
		got = head + begin + table + end + tail
	}
	if *update {
		if err := os.WriteFile(errorsDocument, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(string(text), got); d != "" {
		t.Errorf("the document differs from the code; go test ./pkg/stages -run TestErrorsDocument -update writes it (-document +code)\n%s", d)
	}
	for c := eci.Unknown; c <= eci.NotFound; c++ {
		if !strings.Contains(got, "\n| "+c.String()+" | ") {
			t.Errorf("the document does not say what class %q is", c)
		}
	}
}
