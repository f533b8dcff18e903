package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// files are those of the repository whose names end so, from its root; testdata and
// what was cloned or built beside them apart.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(d.Name(), ".") && path != "."
		switch {
		case err != nil:
			return err
		case d.IsDir() && (hidden || d.Name() == "testdata" || d.Name() == "stub" || d.Name() == "dist"):
			return fs.SkipDir
		case strings.HasSuffix(path, suffix):
			found = append(found, path)
		}
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("found %v, error %v", found, err)
	}
	return found
}

var fenced = regexp.MustCompile("(?ms)^```.*?^```")

// TestLinks: what a page links within the repository is there, its heading too.
func TestLinks(t *testing.T) {
	links := 0
	for _, page := range files(t, ".md") {
		for _, m := range target.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, page), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(m[1], "#")
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links %s: %v", page, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s links %s, and %s has no such heading", page, m[1], to)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

var (
	title    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^\pL\pN_ -]`)
)

// anchors are the names by which the headings of a page are linked, as GitLab and
// GitHub make them.
func anchors(text string) (all []string) {
	for _, m := range title.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// TestNamedTests: a test or benchmark that a page names is there.
func TestNamedTests(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	there := map[string]bool{}
	for _, file := range files(t, "_test.go") {
		for _, m := range function.FindAllStringSubmatch(read(t, file), -1) {
			there[m[1]] = true
		}
	}
	named := 0
	for _, page := range files(t, ".md") {
		for _, m := range regexp.MustCompile("`((?:Test|Benchmark)\\w+)`").FindAllStringSubmatch(read(t, page), -1) {
			if named++; !there[m[1]] {
				t.Errorf("%s names %s, which is no test", page, m[1])
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d names of tests were found", named)
	}
}

// TestSources: docs/sources.md has each source that a comment names, and no other.
func TestSources(t *testing.T) {
	cited := map[string]string{}
	for _, file := range files(t, ".go") {
		for _, m := range regexp.MustCompile(`\(sources\.md: ([^);\n]+)`).FindAllStringSubmatch(read(t, file), -1) {
			for name := range strings.SplitSeq(m[1], ", ") {
				cited[name] = file
			}
		}
	}
	var rows []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z-]+) \| .* \| .*https://.* \|$`).FindAllStringSubmatch(read(t, "docs/sources.md"), -1) {
		rows = append(rows, m[1])
	}
	for _, name := range rows {
		if cited[name] == "" {
			t.Errorf("no comment names %s of docs/sources.md", name)
		}
		delete(cited, name)
	}
	for name, file := range cited {
		t.Errorf("%s names the source %q, which docs/sources.md does not have", file, name)
	}
	if len(rows) < 20 {
		t.Errorf("only %d sources were found", len(rows))
	}
}
