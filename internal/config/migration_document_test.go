package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/testdoc"
)

const migrationDocument = "../../docs/migration.md"

// runnerSettings are the toml keys of each struct of the runner's common/config.go, by
// the name of the type. They are read and not imported: the package takes a minute to
// build.
func runnerSettings(t *testing.T) map[string][]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gitlab.com/gitlab-org/gitlab-runner").Output()
	if err != nil {
		t.Fatalf("find the runner's source: %v", err)
	}
	file := filepath.Join(strings.TrimSpace(string(dir)), "common", "config.go")
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	ast.Inspect(tree, func(n ast.Node) bool {
		typ, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := typ.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, f := range fields.Fields.List {
			if f.Tag == nil {
				continue
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			if key, _, _ := strings.Cut(reflect.StructTag(tag).Get("toml"), ","); key != "" && key != "-" {
				settings[typ.Name.Name] = append(settings[typ.Name.Name], key)
			}
		}
		return false
	})
	return settings
}

// migrated counts the names in the first column of the page's tables of a kind.
func migrated(rows []testdoc.Row, kind string) map[string]int {
	names := map[string]int{}
	for _, row := range rows {
		if row.Head[0] == kind {
			for _, name := range testdoc.Code(row.Cells[0]) {
				names[name]++
			}
		}
	}
	return names
}

// once fails the test where a wanted name is not on the page once, and where there is
// one that nobody wants.
func once(t *testing.T, names map[string]int, wanted map[string]bool) {
	t.Helper()
	for name := range wanted {
		if names[name] != 1 {
			t.Errorf("the page has %s %d times, want once", name, names[name])
		}
	}
	for name := range names {
		if !wanted[name] {
			t.Errorf("the runner has no setting %s", name)
		}
	}
}

// TestMigrationDocument holds docs/migration.md against the runner's source: each
// setting of the Kubernetes executor is there once.
func TestMigrationDocument(t *testing.T) {
	settings := runnerSettings(t)
	if n := len(settings["KubernetesConfig"]); n < 100 {
		t.Fatalf("the runner's source has only %d settings", n)
	}
	wanted := map[string]bool{}
	for _, key := range settings["KubernetesConfig"] {
		wanted[key] = key != "volumes"
	}
	for _, key := range settings["KubernetesVolumes"] {
		wanted["volumes."+key] = true
	}
	delete(wanted, "volumes")
	rows := testdoc.Rows(t, migrationDocument)
	once(t, migrated(rows, "Kubernetes executor"), wanted)
	fields := map[string]bool{}
	for _, volume := range []string{"HostPath", "PVC", "ConfigMap", "Secret", "EmptyDir", "CSI", "NFS"} {
		keys := settings["Kubernetes"+volume]
		if len(keys) == 0 {
			t.Errorf("the runner's source has no volume %s", volume)
		}
		for _, key := range keys {
			fields[key] = true
		}
	}
	once(t, migrated(rows, "field of volumes"), fields)
}

// TestMigrationDocumentNamesOurs looks up what the page names of ours: keys and tables
// of the driver's file, and job variables. A row without one says "none".
func TestMigrationDocumentNamesOurs(t *testing.T) {
	ours := map[string]bool{}
	for _, key := range allKeys() {
		table := "[" + key.table + "]"
		if key.array {
			table = "[" + table + "]"
		}
		if key.table == "" {
			table = ""
		}
		ours[table], ours[strings.TrimSpace(table+" "+key.name)] = true, true
	}
	for _, row := range testdoc.Rows(t, migrationDocument) {
		here := testdoc.Code(row.Cell("here"))
		if (row.Cell("here") == "none") != (len(here) == 0) {
			t.Errorf("%s: want keys of ours or none, got %s", row.Cells[0], row.Cell("here"))
		}
		for _, name := range here {
			if !ours[name] {
				t.Errorf("%s: the driver's file has no %s", row.Cells[0], name)
			}
		}
		for _, name := range testdoc.Code(row.Cell("remark")) {
			if strings.HasPrefix(name, "[") && !strings.HasPrefix(name, "[runners") && !ours[name] {
				t.Errorf("%s: the driver's file has no %s", row.Cells[0], name)
			}
		}
	}
	page, err := os.ReadFile(migrationDocument)
	if err != nil {
		t.Fatal(err)
	}
	variables, err := os.ReadFile(configurationDocument)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\bECI_[A-Z_]+`).FindAllString(string(page), -1) {
		if !strings.Contains(string(variables), "| `"+name+"` |") {
			t.Errorf("there is no job variable %s", name)
		}
	}
}
