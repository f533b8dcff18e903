package docs

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/eci-executor/eci-executor/"

// TestPictures: every picture of docs is well-formed, has a label, and is shown by a page.
func TestPictures(t *testing.T) {
	pictures, err := filepath.Glob(filepath.Join(root, "docs", "*.svg"))
	if err != nil || len(pictures) < 3 {
		t.Fatalf("found %v, error %v", pictures, err)
	}
	pages := ""
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pages += string(text)
		}
	}
	for _, picture := range pictures {
		told := false
		elements(t, picture, func(e xml.StartElement, _ string) {
			told = told || e.Name.Local == "svg" && attribute(e, "aria-label") != ""
		})
		if !told {
			t.Errorf("%s has no aria-label for who can't see it", picture)
		}
		if !strings.Contains(pages, filepath.Base(picture)+")") {
			t.Errorf("no page shows %s", picture)
		}
	}
}

// TestHousePicture: its boxes are packages, its arrows are imports.
func TestHousePicture(t *testing.T) {
	boxes, arrows := 0, 0
	imports := map[string][]string{}
	elements(t, filepath.Join(root, "docs", "architecture-house.svg"), func(e xml.StartElement, text string) {
		switch attribute(e, "class") {
		case "package":
			boxes++
			if info, err := os.Stat(filepath.Join(root, text)); err != nil || !info.IsDir() {
				t.Errorf("there is no package %q: %v", text, err)
			}
		case "import":
			arrows++
			from, to := attribute(e, "data-from"), attribute(e, "data-to")
			if imports[from] == nil {
				out, err := exec.Command("go", "list", "-f", `{{join .Imports " "}}`, module+from).Output()
				if err != nil {
					t.Fatalf("go list %s: %v", from, err)
				}
				imports[from] = strings.Fields(string(out))
			}
			if !slices.Contains(imports[from], module+to) {
				t.Errorf("%s does not import %s", from, to)
			}
		}
	})
	if boxes < 10 || arrows < 10 {
		t.Errorf("%d boxes and %d arrows: that can't be all", boxes, arrows)
	}
}

// elements calls see with each element of an SVG and the text right behind its start.
func elements(t *testing.T, file string, see func(xml.StartElement, string)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	var open *xml.StartElement
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		text, _ := token.(xml.CharData)
		if open != nil {
			see(*open, string(text))
			open = nil
		}
		if e, ok := token.(xml.StartElement); ok {
			e = e.Copy()
			open = &e
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
