package messages

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the lists of docs/troubleshooting.md that are made of the code")

const document = root + "/docs/troubleshooting.md"

var (
	span    = regexp.MustCompile("``(.+?)``|`([^`]+)`")
	section = regexp.MustCompile(`(?s)<!-- begin (\w+) -->\n(.*?)<!-- end (\w+) -->`)
)

// spans are the texts that stand as code in a part of the document.
func spans(text string) []string {
	var all []string
	for _, found := range span.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.TrimSpace(found[1]+found[2]))
	}
	return all
}

// read is the document: whole, without the lists, and the texts that it has by hand.
func read(t *testing.T) (whole, byHands string, explained []string) {
	data := readFile(t, document)
	byHands = section.ReplaceAllString(string(data), "")
	return string(data), byHands, spans(byHands)
}

// holds tells whether one of texts has the message.
func holds(texts []string, m message) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, m.text) })
}

// elsewhere are the tables of the documents that have a message in place of this one:
// codes and events of ECI, and what the checks look at.
func elsewhere(t *testing.T) []string {
	var rows []string
	for _, name := range []string{"errors.md", "check.md"} {
		for line := range strings.Lines(string(readFile(t, root+"/docs/"+name))) {
			if strings.HasPrefix(line, "|") {
				rows = append(rows, strings.ReplaceAll(line, `\|`, "|"))
			}
		}
	}
	return rows
}

// code is text as code in Markdown.
func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

// list is what stands between the markers of a name.
func list(name string, messages []message, byHands []string) string {
	var b strings.Builder
	row := func(m message) string { return "- " + code(m.full) + "\n" }
	if name == lines {
		b.WriteString("| line | what to do |\n|---|---|\n")
		row = func(m message) string {
			line := code(m.full)
			if !twoWords.MatchString(m.text) {
				line = "what was looked at, and an error"
			}
			return fmt.Sprintf("| %s | %s |\n", line, cmp.Or(m.then, "what the line says"))
		}
	}
	seen := map[string]bool{}
	for _, m := range messages {
		if place(m) != name || name == lines && !m.says || name != lines && holds(byHands, m) {
			continue
		}
		if r := row(m); !seen[r] {
			seen[r] = true
			b.WriteString(r)
		}
	}
	return b.String()
}

// TestTroubleshooting fails when a message of the driver is not explained, and holds
// the lists that are made of the code to it.
func TestTroubleshooting(t *testing.T) {
	messages := append(inGo(t), inScripts(t)...)
	whole, _, byHands := read(t)
	tables := elsewhere(t)
	for _, found := range section.FindAllStringSubmatch(whole, -1) {
		name := found[1]
		if name == told {
			byHands = append(byHands, list(lines, messages, nil)) // what to do is told there
		}
		want := list(name, messages, byHands)
		switch {
		case found[3] != name || strings.Count(want, "\n") < 10:
			t.Errorf("the list %q is ended as %q, or has next to nothing:\n%s", name, found[3], want)
		case found[2] != want && *update:
			whole = strings.Replace(whole, found[0], "<!-- begin "+name+" -->\n"+want+"<!-- end "+name+" -->", 1)
		case found[2] != want:
			t.Errorf("the list %q is not what the code says; go test ./test/messages -run TestTroubleshooting -update", name)
		}
	}
	if *update {
		if err := os.WriteFile(document, []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range messages {
		if place(m) == byHand && !holds(byHands, m) && !holds(tables, m) {
			t.Errorf("%s:%d: docs/troubleshooting.md does not explain %s", m.file, m.line, code(m.full))
		}
		if place(m) == lines && !m.says && !strings.Contains(whole, m.text) {
			t.Errorf("%s:%d: no line of check in docs/troubleshooting.md has the part %s", m.file, m.line, code(m.full))
		}
	}
	if len(messages) < 1000 {
		t.Errorf("only %d messages were found in the code", len(messages))
	}
}

// TestTroubleshootingHasNothingElse: a message in the first column of a table can be
// said, and has a cause and what to do.
func TestTroubleshootingHasNothingElse(t *testing.T) {
	messages := append(inGo(t), inScripts(t)...)
	_, byHands, _ := read(t)
	rows := 0
	for line := range strings.Lines(byHands) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| message") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 3 || slices.Contains(cells, "") {
			t.Errorf("no message, cause and what to do: %s", line)
			continue
		}
		for _, text := range spans(cells[0]) {
			said := func(m message) bool {
				return strings.Contains(m.text, core(text)) || strings.Contains(text, m.text) && 2*len(m.text) >= len(core(text))
			}
			if !slices.ContainsFunc(messages, said) {
				t.Errorf("nothing in the code says %s", code(text))
			}
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows were found in the document", rows)
	}
}
