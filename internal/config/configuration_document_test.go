package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"

	"github.com/eci-executor/eci-executor/internal/testdoc"
)

const configurationDocument = "../../docs/configuration.md"

// documentedKey is a key of the file as the code has it.
type documentedKey struct {
	table string // "" is the top of the file
	array bool   // of tables
	name  string
	def   reflect.Value
}

func (k documentedKey) String() string { return join(k.table, k.name) }

// allKeys are the keys of the file that are no tables, with their defaults.
func allKeys() []documentedKey {
	var keys []documentedKey
	var walk func(table string, array bool, v reflect.Value)
	walk = func(table string, array bool, v reflect.Value) {
		for i := range v.NumField() {
			key := v.Type().Field(i).Tag.Get("toml")
			switch f := v.Field(i); {
			case f.Kind() == reflect.Struct:
				walk(join(table, key), false, f)
			case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
				walk(join(table, key), true, newElement(f.Type().Elem()))
			default:
				keys = append(keys, documentedKey{table, array, key, f})
			}
		}
	}
	walk("", false, reflect.ValueOf(Default()).Elem())
	return keys
}

// typeNames are the document's words for the types that the file has.
func typeNames() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[string]():              "string",
		reflect.TypeFor[Secret]():              "secret",
		reflect.TypeFor[bool]():                "boolean",
		reflect.TypeFor[int]():                 "whole number",
		reflect.TypeFor[float64]():             "number",
		reflect.TypeFor[Size]():                "size",
		reflect.TypeFor[time.Duration]():       "duration",
		reflect.TypeFor[[]string]():            "list of strings",
		reflect.TypeFor[map[string]string]():   "table of strings",
		reflect.TypeFor[Params]():              "table of values",
		reflect.TypeFor[map[string][]string](): "table of lists",
	}
}

// beside is what must stand in a table for one of its keys to be judged: by key and
// value, else by key, else by table.
func beside(key documentedKey, value string) []string {
	const (
		logIn  = "access_key_id = \"a\"\naccess_key_secret = \"b\""
		volume = "name = \"a\"\nmount_path = \"/a\"\n"
		files  = `files = { a = "/a" }`
		bucket = `options = { bucket = "b", url = "u" }`
	)
	all := map[string]string{
		"credentials.access_key_id":          logIn,
		"credentials.access_key_secret":      logIn,
		"credentials.access_key_secret_file": `access_key_id = "a"`,
		"credentials.security_token":         logIn,
		"runner_service":                     `name = "redis"`,
		"pull.policy":                        `allowed_policies = ["always", "if-not-present", "never"]`,
		"nas":                                "name = \"a\"\nserver = \"a.example.com\"\npath = \"/a\"\nmount_path = \"/a\"",
		"volume":                             volume + `type = "empty_dir"`,
		"volume.files":                       volume + `type = "secret"`,
		"volume.options":                     volume + `type = "oss"`,
		`volume.type "secret"`:               volume + files,
		`volume.type "oss"`:                  volume + bucket,
		"registry":                           "server = \"r\"\nusername = \"u\"\npassword = \"p\"",
		"registry.password_file":             "server = \"r\"\nusername = \"u\"",
		"registry.acr_instance_id":           `server = "r"`,
		"spot.price_limit":                   `strategy = "price-limit"`,
		`spot.strategy "price-limit"`:        "price_limit = 0.5",
		"":                                   `region = "ap-northeast-1"`,
	}
	for _, at := range []string{key.String() + " " + value, key.String(), key.table} {
		if text, ok := all[at]; ok {
			return strings.Split(text, "\n")
		}
	}
	return nil
}

// fileWith is the smallest valid file with a value of a key, as TOML; "" leaves the key
// out.
func fileWith(key documentedKey, value string) string {
	var lines []string
	switch {
	case key.array:
		lines = append(lines, `region = "ap-northeast-1"`, "[["+key.table+"]]")
	case key.table != "":
		lines = append(lines, `region = "ap-northeast-1"`, "["+key.table+"]")
	}
	for _, line := range beside(key, value) {
		if !strings.HasPrefix(line, key.name+" = ") {
			lines = append(lines, line)
		}
	}
	if value != "" {
		lines = append(lines, key.name+" = "+value)
	}
	return strings.Join(lines, "\n") + "\n"
}

var (
	limitNot   = regexp.MustCompile("not (`[^`]+`(?:, `[^`]+`)*)")
	limitOneOf = regexp.MustCompile("one of (`[^`]+`(?:, `[^`]+`)*)")
	limitMost  = regexp.MustCompile(`at most (\d+) (items|characters)`)
	limitRange = regexp.MustCompile(`^(\d+) to (\d+)`)
	tableName  = regexp.MustCompile(`^\[+([a-z_]+)\]+$`)
)

// judged are values of a key that its limit says to be good, and those that it says not
// to be.
func judged(key documentedKey, limit string) (good, bad []string) {
	list := key.def.Kind() == reflect.Slice
	if m := limitOneOf.FindStringSubmatch(limit); m != nil {
		for _, value := range testdoc.Code(m[1]) {
			if list {
				value = "[" + value + "]"
			}
			good = append(good, value)
		}
	}
	if m := limitNot.FindStringSubmatch(limit); m != nil {
		bad = append(bad, testdoc.Code(m[1])...)
	}
	if m := limitMost.FindStringSubmatch(limit); m != nil {
		n, _ := strconv.Atoi(m[1])
		good, bad = append(good, sized(key, n)), append(bad, sized(key, n+1))
	}
	if m := limitRange.FindStringSubmatch(limit); m != nil {
		least, _ := strconv.Atoi(m[1])
		most, _ := strconv.Atoi(m[2])
		good = append(good, strconv.Itoa(least), strconv.Itoa(most))
		bad = append(bad, strconv.Itoa(least-1), strconv.Itoa(most+1))
	}
	return good, bad
}

// sized is a value of n items or characters.
func sized(key documentedKey, n int) string {
	if key.def.Kind() == reflect.String {
		return strconv.Quote(strings.Repeat("a", n))
	}
	var items []string
	for i := range n {
		if key.def.Kind() == reflect.Map {
			items = append(items, fmt.Sprintf(`item-%d = "/item"`, i))
		} else {
			items = append(items, fmt.Sprintf(`"item-%d"`, i))
		}
	}
	if key.def.Kind() == reflect.Map {
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// TestConfigurationDocument holds the tables of docs/configuration.md against the code:
// each key is there once, with its type and its default; examples and what a limit
// allows are accepted, what a limit refuses is refused because of the key.
func TestConfigurationDocument(t *testing.T) {
	rows := map[string]testdoc.Row{}
	for _, row := range testdoc.Rows(t, configurationDocument) {
		if row.Head[0] != "key" {
			continue
		}
		key := strings.Join(testdoc.Code(row.Cell("key")), " ")
		if m := tableName.FindStringSubmatch(row.Heading); m != nil {
			key = join(m[1], key)
		}
		if _, twice := rows[key]; twice {
			t.Errorf("%s stands there twice", key)
		}
		rows[key] = row
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range allKeys() {
		row, ok := rows[key.String()]
		if !ok {
			t.Errorf("the page lacks %s", key)
			continue
		}
		delete(rows, key.String())
		t.Run(key.String(), func(t *testing.T) { key.holds(t, row, secret) })
	}
	for key := range rows {
		t.Errorf("%s is no key of the file", key)
	}
}

// holds checks one row; secretFile stands in for files with secrets.
func (k documentedKey) holds(t *testing.T, row testdoc.Row, secretFile string) {
	if got, want := row.Cell("type"), typeNames()[k.def.Type()]; got != want {
		t.Errorf("type %q, in the code %q", got, want)
	}
	if got := len(strings.Split(row.Heading, "[")) - 1; k.table != "" && (got == 2) != k.array {
		t.Errorf("wrong brackets in the heading %s", row.Heading)
	}
	k.defaultHolds(t, row.Cell("default"))
	example := testdoc.Code(row.Cell("example"))
	if len(example) != 1 {
		t.Fatalf("%d examples, want one", len(example))
	}
	good, bad := judged(k, row.Cell("limit"))
	for _, value := range append(good, example...) {
		if strings.HasSuffix(k.name, "_file") {
			value = strconv.Quote(secretFile)
		}
		if _, err := Parse("f", []byte(fileWith(k, value))); err != nil {
			t.Errorf("%s is refused: %v", value, err)
		}
	}
	for _, value := range bad {
		_, err := Parse("f", []byte(fileWith(k, value)))
		at := k.String()
		if k.array {
			at = index(k.table, 0) + "." + k.name
		}
		if err == nil || !strings.Contains(err.Error(), " "+at) {
			t.Errorf("%s: got %v, want it refused because of %s", value, err, at)
		}
	}
}

// defaultHolds checks the column of the default: TOML, or that there is none.
func (k documentedKey) defaultHolds(t *testing.T, cell string) {
	if cell == "required" {
		if _, err := Parse("f", []byte(fileWith(k, ""))); err == nil {
			t.Error("a file without it is accepted")
		}
		return
	}
	var tree map[string]any
	if err := toml.Unmarshal([]byte("v = "+strings.Join(testdoc.Code(cell), " ")), &tree); err != nil {
		t.Fatalf("default %s: %v", cell, err)
	}
	got := reflect.New(k.def.Type()).Elem()
	d := &decoder{doc: &document{}, bad: map[string]bool{}}
	d.value(k.name, tree["v"], got)
	if len(d.problems) > 0 {
		t.Fatalf("default %s: %v", cell, d.problems[0])
	}
	if diff := cmp.Diff(k.leftOut(), got.Interface(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("default of the code (-) and of the page (+):\n%s", diff)
	}
}

// leftOut is the value of a key that is left out of an otherwise sufficient file.
func (k documentedKey) leftOut() any {
	cfg, err := Parse("f", []byte(fileWith(k, "")))
	if err != nil || !k.array {
		return k.def.Interface()
	}
	file := reflect.ValueOf(cfg).Elem()
	element := file.Field(fieldsOf(file.Type())[k.table]).Index(0)
	return element.Field(fieldsOf(element.Type())[k.name]).Interface()
}
