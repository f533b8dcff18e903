package stages

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/testdoc"
)

const configurationDocument = "../../docs/configuration.md"

// TestConfigurationDocumentVariables holds the table of job variables in
// docs/configuration.md against what a job may ask for: the same names and caps,
// examples that are granted, values that are not.
func TestConfigurationDocumentVariables(t *testing.T) {
	rows := map[string]testdoc.Row{}
	for _, row := range testdoc.Rows(t, configurationDocument) {
		if row.Head[0] == "variable" && slices.Contains(row.Head, "cap") {
			rows[strings.Join(testdoc.Code(row.Cell("variable")), " ")] = row
		}
	}
	for _, o := range overwrites(new(config.Config)) {
		row, ok := rows[o.names[0]]
		if !ok {
			t.Errorf("the page lacks %s", o.names[0])
			continue
		}
		delete(rows, o.names[0])
		t.Run(o.names[0], func(t *testing.T) {
			if diff := cmp.Diff(o.names, append(o.names[:1:1], testdoc.Code(row.Cell("the same"))...)); diff != "" {
				t.Errorf("names in the code (-), on the page (+):\n%s", diff)
			}
			if got := testdoc.Code(row.Cell("cap")); len(got) != 1 || got[0] != o.key {
				t.Errorf("cap %q, in the code %q", got, o.key)
			}
			overwriteHolds(t, o.names, row)
		})
	}
	for name := range rows {
		t.Errorf("%s is no variable that a job may ask by", name)
	}
}

var refusedValues = regexp.MustCompile("not (`[^`]+`(?:, `[^`]+`)*)")

// overwriteHolds asks by each of a row's names, on a runner that allows all and on one that
// allows nothing.
func overwriteHolds(t *testing.T, names []string, row testdoc.Row) {
	ask := func(driverFile, name, value string) (*config.Config, []string, error) {
		cfg, err := config.Parse("test.toml", []byte(driverFile))
		if err != nil {
			t.Fatal(err)
		}
		lines, err := grant(overwrites(cfg), func(n string) string { return map[string]string{name: value}[n] })
		return cfg, lines, err
	}
	limit := refusedValues.FindStringSubmatch(row.Cell("limit"))
	example, changed := testdoc.Code(row.Cell("example")), testdoc.Code(row.Cell("default"))
	if limit == nil || len(example) != 1 || len(changed) != 1 {
		t.Fatal("the row needs a value that is refused, an example and a default")
	}
	before, _, _ := ask(permissive, "", "")
	for _, name := range names {
		cfg, lines, err := ask(permissive, name, example[0])
		if err != nil || len(lines) > 0 {
			t.Errorf("%s = %s is not granted: %v %q", name, example[0], err, lines)
		} else if keyOf(t, cfg, changed[0]) == keyOf(t, before, changed[0]) {
			t.Errorf("%s = %s does not change %s", name, example[0], changed[0])
		}
		_, lines, err = ask(strict, name, example[0])
		if ignored := testdoc.Code(row.Cell("cap"))[0]; err != nil || len(lines) != 1 || !strings.Contains(lines[0], ignored) {
			t.Errorf("without a cap: got %v and %q, want a line that names %s", err, lines, ignored)
		}
		for _, value := range testdoc.Code(limit[1]) {
			if _, _, err := ask(permissive, name, value); err == nil {
				t.Errorf("%s = %s is granted", name, value)
			}
		}
	}
}

// keyOf is the text of a key's value; key is written "[table] key".
func keyOf(t *testing.T, cfg *config.Config, key string) string {
	t.Helper()
	v := reflect.ValueOf(cfg).Elem()
	for name := range strings.FieldsSeq(strings.Trim(key, "[")) {
		name = strings.Trim(name, "]")
		typ := v.Type()
		i := slices.IndexFunc(reflect.VisibleFields(typ), func(f reflect.StructField) bool { return f.Tag.Get("toml") == name })
		if i < 0 {
			t.Fatalf("there is no key %s", key)
		}
		v = v.Field(i)
	}
	return fmt.Sprint(v.Interface())
}

// TestConfigurationDocumentOtherVariables looks for every name of a variable in the
// source: a job's author can set it, and then the page has it, or GitLab and the runner
// alone do.
func TestConfigurationDocumentOtherVariables(t *testing.T) {
	documented := map[string]bool{}
	for _, row := range testdoc.Rows(t, configurationDocument) {
		if row.Head[0] == "variable" {
			for _, name := range testdoc.Code(row.Cell("variable") + row.Cell("the same")) {
				documented[name] = false
			}
		}
	}
	for _, o := range overwrites(new(config.Config)) {
		for _, name := range o.names {
			documented[name] = true
		}
	}
	notTheAuthors := []string{AttemptVariable, "CI_RUNNER_VERSION", "CI_JOB_SERVICES", "CI_SERVER_HOST",
		"CI_RUNNER_ID", "CI_PIPELINE_ID", "CI_COMMIT_REF_PROTECTED", "CI_BUILDS_DIR", "CI_PROJECT_DIR"}
	for _, name := range namesInSource(t) {
		if _, ok := documented[name]; ok {
			documented[name] = true
		} else if !slices.Contains(notTheAuthors, name) {
			t.Errorf("the page lacks %s", name)
		}
	}
	for name, used := range documented {
		if !used {
			t.Errorf("nothing reads %s", name)
		}
	}
}

// namesInSource are the string literals of the package that look like a variable's name.
func namesInSource(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if name, err := strconv.Unquote(literal.Value); err == nil && variable.MatchString(name) {
					names = append(names, name)
				}
			}
			return true
		})
	}
	return names
}
