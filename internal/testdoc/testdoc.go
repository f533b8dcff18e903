// Package testdoc reads the tables of the documents, for the tests that hold a page
// against the code. It is no Markdown parser: it knows headings, tables whose cells
// hold no |, and code between single backquotes.
package testdoc

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Row is a line of a table below its head.
type Row struct {
	Heading string   // of any level, nearest above the table
	Head    []string // names of the columns
	Cells   []string // as many as Head
}

// Cell is the text in a column, "" where the table has no such column.
func (r Row) Cell(column string) string {
	if i := slices.Index(r.Head, column); i >= 0 {
		return r.Cells[i]
	}
	return ""
}

var (
	rule = regexp.MustCompile(`^[-:| ]+$`)
	code = regexp.MustCompile("`([^`]+)`")
)

// Rows are those of all tables of a page, in its order. A row with more or fewer cells
// than its table's head fails the test.
func Rows(t testing.TB, page string) []Row {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	heading, head, fenced := "", []string(nil), false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		fenced = fenced != strings.HasPrefix(line, "```")
		switch {
		case fenced:
		case strings.HasPrefix(line, "#"):
			heading, head = strings.TrimSpace(strings.TrimLeft(line, "#")), nil
		case !strings.HasPrefix(line, "|"):
			head = nil
		case head == nil:
			head = cells(line)
		case rule.MatchString(line):
		default:
			row := Row{Heading: heading, Head: head, Cells: cells(line)}
			if len(row.Cells) != len(head) {
				t.Fatalf("%s: a row has %d cells, its table %d columns: %s", page, len(row.Cells), len(head), line)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func cells(line string) []string {
	all := strings.Split(strings.Trim(line, "|"), "|")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// Code is what stands between backquotes in a text.
func Code(text string) []string {
	var all []string
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}
