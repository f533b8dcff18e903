package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gitlab.com/gitlab-org/gitlab-runner/helpers/featureflags"
)

// TestJobsDocument holds docs/jobs.md against the cases: each one that it names exists,
// and each of TestSent and TestRetry is named. The table of flags is written with -update.
func TestJobsDocument(t *testing.T) {
	page := filepath.Join("..", "..", "docs", "jobs.md")
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin flags -->\n", "<!-- end flags -->"
	head, rest, ok := strings.Cut(string(content), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks its markers", page)
	}
	if *update {
		table = flagsTable()
		if err := os.WriteFile(page, []byte(head+begin+table+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(flagsTable(), table); diff != "" {
		t.Errorf("the table of flags (-code +page), -update writes it:\n%s", diff)
	}
	cases := namedCases(t)
	named := map[string]bool{}
	for line := range strings.Lines(head) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(line, "| what") || strings.HasPrefix(line, "|--") {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimSpace(cells[3]), "; ") {
			named[name] = true
			if _, ok := cases[name]; !ok && name != "every case of `TestSent`" {
				t.Errorf("there is no case %q", name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		if cases[name] && !named[name] {
			t.Errorf("the page does not name the case %q", name)
		}
	}
}

// namedCases are all cases and tests that the page may name; true = it must.
func namedCases(t *testing.T) map[string]bool {
	t.Helper()
	cases := map[string]bool{"three feature flags at once": true}
	for _, rows := range [][]sent{variablesSent(), sourcesSent(""), stepsSent(""), artifactsSent(""), cacheSent(""), projectsSent("", "")} {
		for _, row := range rows {
			cases[row.name] = true
		}
	}
	for _, row := range attempts() {
		cases[row.name] = true
	}
	for _, c := range cuts() {
		cases[c.name] = false
	}
	for _, s := range scenarios() {
		cases[s.name] = false
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(content), -1) {
			cases[m[1]] = false
		}
	}
	return cases
}

func flagsTable() string {
	var b strings.Builder
	b.WriteString("| flag | default | here | run with both values |\n| --- | --- | --- | --- |\n")
	for i, f := range featureFlags() {
		fmt.Fprintf(&b, "| `%s` | %v | %s | %s |\n", f.name, featureflags.GetAll()[i].DefaultValue, f.note, f.kind)
	}
	return b.String()
}
