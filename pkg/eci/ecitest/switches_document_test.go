package ecitest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// unknownRows are the cells of the table in docs/architecture.md.
func unknownRows(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| unknown | switch |")
	if !found {
		t.Fatal("docs/architecture.md has no table of switches")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var rows [][]string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "--") {
			if strings.Contains(line, "`") {
				t.Errorf("not four cells: %s", line)
			}
			continue
		}
		for i, cell := range cells {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("cell %d is empty: %s", i+1, line)
			}
		}
		rows = append(rows, cells)
	}
	return rows
}

// Each switch has a row in docs/architecture.md, with where the code depends on it and
// how to find out on the live service. A row has a switch, or a rule that can be read,
// or says why there is none and names a test; and no row names what is gone.
func TestSwitchesStandInTheDocumentation(t *testing.T) {
	tests := testNames(t)
	rows := map[string]int{}
	for _, cells := range unknownRows(t) {
		switches, rules, named := 0, 0, 0
		for _, name := range quoted(cells[1]) {
			switch {
			case strings.HasPrefix(name, "Test"):
				named++
			case strings.Contains(name, ":"):
				rules++
				if _, err := ecitest.ParseRules(name); err != nil {
					t.Errorf("rule %s: %v", name, err)
				}
			case slices.Contains(allSwitches(), name):
				switches++
				rows[name]++
			case name != "nasmount":
				t.Errorf("docs/architecture.md names %s, which is no switch", name)
			}
		}
		if why := strings.HasPrefix(strings.TrimSpace(cells[1]), "none: "); switches == 0 && rules == 0 && (!why || named == 0) {
			t.Errorf("neither switch nor rule, nor a reason with a test: %s", cells)
		}
		for _, name := range quoted(strings.Join(cells, " ")) {
			if strings.HasPrefix(name, "Test") && !tests[name] {
				t.Errorf("docs/architecture.md names %s, which is no test", name)
			}
		}
	}
	for _, name := range allSwitches() {
		if rows[name] != 1 {
			t.Errorf("the switch %s stands in %d rows of docs/architecture.md, want 1", name, rows[name])
		}
	}
}

// quoted are the words of a text that stand between backquotes.
func quoted(text string) []string {
	var words []string
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testNames are the names of all tests of this module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	root := os.DirFS(filepath.Join("..", "..", ".."))
	err := fs.WalkDir(root, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, path)
		for _, match := range testFunction.FindAllStringSubmatch(string(text), -1) {
			names[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
