package stages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPackageCommentHasEachFile: the list of files in the package's comment is that of the
// folder.
func TestPackageCommentHasEachFile(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\npackage ")
	var listed []string
	for line := range strings.Lines(comment) {
		if strings.HasPrefix(line, "//\t") {
			for word := range strings.FieldsSeq(line) {
				if name := strings.TrimRight(word, ";"); strings.HasSuffix(name, ".go") {
					listed = append(listed, name)
				}
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if name != "doc.go" && !strings.HasSuffix(name, "_test.go") && !slices.Contains(listed, name) {
			t.Errorf("the package's comment lacks %s", name)
		}
	}
	for i, name := range listed {
		if !slices.Contains(files, name) || slices.Contains(listed[:i], name) {
			t.Errorf("the package's comment has %s, which is not there or twice there", name)
		}
	}
}
