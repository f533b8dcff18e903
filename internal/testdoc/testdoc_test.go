package testdoc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRows(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const text = "# Page\n\n| a | b |\n|---|:-:|\n| `1`, `2` | |\n\n## Part\n```\n| no | table |\n```\n| c |\n|---|\n| 3 |\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := Rows(t, page)
	want := []Row{{"Page", []string{"a", "b"}, []string{"`1`, `2`", ""}}, {"Part", []string{"c"}, []string{"3"}}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]string{"1", "2"}, Code(rows[0].Cell("a"))); diff != "" {
		t.Error(diff)
	}
	if got := rows[1].Cell("a"); got != "" {
		t.Errorf("a column that is not there holds %q", got)
	}
}
