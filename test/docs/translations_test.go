package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// section is what a translation leaves as it is, from one heading to the next.
// Sentences may take another order, so spans and targets are sorted.
type section struct {
	Level   int      // number of # before the heading, 0 for what stands above the first
	Blocks  []string // lines of code blocks
	Items   []string // markers of list items: "-", "1."
	Rows    []row
	Spans   []string // code within text, with its backticks
	Targets []string // of links
}

// row is one of a table.
type row struct {
	Cells int
	First []string // code in the first cell
}

var (
	heading  = regexp.MustCompile(`^(#+) \S`)
	item     = regexp.MustCompile(`^(-|[0-9]+\.) \S`)
	span     = regexp.MustCompile("`[^`]+`")
	target   = regexp.MustCompile(`\]\(([^)]+)\)`)
	language = regexp.MustCompile(`(?m)^.*(\[English\]|English \|).*\n`)
)

func TestTranslationsAreInStep(t *testing.T) {
	want := sections(language.ReplaceAllString(read(t, "README.md"), ""))
	if len(want) < 10 {
		t.Fatalf("only %d sections were found in README.md", len(want))
	}
	for _, file := range []string{"README.ko.md", "README.zh-CN.md"} {
		t.Run(file, func(t *testing.T) {
			got := sections(language.ReplaceAllString(read(t, file), ""))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("differs from README.md (-) in what a translation keeps; bring it in step:\n%s", diff)
			}
		})
	}
}

// Each of the three leads to the two others, in the line below its title.
func TestLanguagesLeadToEachOther(t *testing.T) {
	files := []string{"README.md", "README.ko.md", "README.zh-CN.md"}
	for _, file := range files {
		lines := strings.SplitN(read(t, file), "\n", 4)
		var got []string
		for _, m := range target.FindAllStringSubmatch(lines[2], -1) {
			got = append(got, m[1])
		}
		want := slices.DeleteFunc(slices.Clone(files), func(other string) bool { return other == file })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, line 3: leads to the others (-) and does (+):\n%s", file, diff)
		}
	}
}

func TestSections(t *testing.T) {
	const text = "# a\n\ntext `b` and `a` [x](y.md)\n\n    # code\n\n| `k`, l | m |\n|---|---|\n- one\n```sh\n- code\n```\n## b\n"
	want := []section{
		{},
		{
			Level: 1, Blocks: []string{"    # code", "```sh", "- code", "```"}, Items: []string{"-"},
			Rows: []row{{2, []string{"`k`"}}, {2, nil}}, Spans: []string{"`a`", "`b`", "`k`"}, Targets: []string{"y.md"},
		},
		{Level: 2},
	}
	if diff := cmp.Diff(want, sections(text)); diff != "" {
		t.Error(diff)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sections(text string) []section {
	all := []section{{}}
	fenced := false
	for line := range strings.SplitSeq(text, "\n") {
		at := &all[len(all)-1]
		fence := strings.HasPrefix(line, "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || strings.HasPrefix(line, "    ") {
			at.Blocks = append(at.Blocks, line)
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			all = append(all, section{Level: len(m[1])})
			at = &all[len(all)-1]
		}
		at.add(line)
	}
	for i := range all {
		slices.Sort(all[i].Spans)
		slices.Sort(all[i].Targets)
	}
	return all
}

// add takes what a line outside of code blocks has.
func (s *section) add(line string) {
	if m := item.FindStringSubmatch(line); m != nil {
		s.Items = append(s.Items, m[1])
	}
	if strings.HasPrefix(line, "|") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		s.Rows = append(s.Rows, row{len(cells), span.FindAllString(cells[0], -1)})
	}
	s.Spans = append(s.Spans, span.FindAllString(line, -1)...)
	for _, m := range target.FindAllStringSubmatch(line, -1) {
		s.Targets = append(s.Targets, m[1])
	}
}
