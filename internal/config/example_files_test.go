package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"
)

const (
	driverExample = "../../eci-executor.toml.example"
	runnerExample = "../../config.toml.example"
)

// uncommented is the driver's example with its disabled settings enabled: the lines
// that start with # and no space.
func uncommented(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(driverExample)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(string(data), "$1")
}

func TestDriverExampleHasTheDefaults(t *testing.T) {
	got, err := Load(driverExample)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Region = "ap-northeast-1" // required: the example's own
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the code's defaults (-) are not those of the example (+):\n%s", diff)
	}
}

func TestDriverExampleHasEveryKey(t *testing.T) {
	var tree map[string]any
	if err := toml.Unmarshal([]byte(uncommented(t)), &tree); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	collect("", tree, keys)
	wanted := 0
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for f := range typ.Fields() {
			key := join(prefix, f.Tag.Get("toml"))
			wanted++
			if f.Tag.Get("toml") == "" {
				t.Errorf("field %s.%s has no toml key", typ, f.Name)
			}
			if !keys[key] {
				t.Errorf("the example lacks %s", key)
			}
			inner := f.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				walk(key, inner)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	if wanted < 80 {
		t.Errorf("only %d keys were looked for", wanted)
	}
}

// collect notes the dotted keys of a tree, tables of arrays without their number.
func collect(prefix string, tree map[string]any, keys map[string]bool) {
	for key, v := range tree {
		at := join(prefix, key)
		keys[at] = true
		switch v := v.(type) {
		case map[string]any:
			collect(at, v, keys)
		case []any:
			for _, item := range v {
				if table, ok := item.(map[string]any); ok {
					collect(at, table, keys)
				}
			}
		}
	}
}

func TestDriverExampleUncommented(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(uncommented(t), "/etc/eci-executor/registry-password", password)
	if _, err := Parse("example", []byte(text)); err != nil {
		t.Errorf("an example is wrong: %v", err)
	}
}

// The tables that the documents show are right as they stand.
func TestTablesInDocuments(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../../docs/nas.md", "../../docs/volumes.md", "../../docs/migration.md", "../../examples/java-demo/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no table", file)
		}
		for _, block := range blocks {
			tables := strings.ReplaceAll(block[1], "/etc/eci-executor/registry-password", password)
			if _, err := Parse(file, []byte("region = \"ap-northeast-1\"\n"+tables)); err != nil {
				t.Errorf("%v\nin\n%s", err, tables)
			}
		}
	}
}

// strictRunner decodes the runner's example, in which no key may be misspelt.
func strictRunner(t *testing.T) (*RunnerFile, *Runner) {
	t.Helper()
	f, err := os.Open(runnerExample)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var file RunnerFile
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&file); err != nil {
		t.Fatal(err)
	}
	if len(file.Runners) != 1 {
		t.Fatalf("%d runners, want 1", len(file.Runners))
	}
	if file.Runners[0].Token != exampleToken {
		t.Fatalf("check takes %q for the example's token, which is %q", string(exampleToken), string(file.Runners[0].Token))
	}
	file.Runners[0].Token = "glrt-mine" // as everybody sets it
	return &file, &file.Runners[0]
}

func TestRunnerExample(t *testing.T) {
	file, r := strictRunner(t)
	relations := Relations(file, r, Default(), DefaultPath, "eci-executor")
	if len(relations) < 15 {
		t.Errorf("only %d relations", len(relations))
	}
	given := func(what string, ok bool) Relation { return Relation{Name: what + " given", Holds: ok} }
	c := r.Custom
	for _, relation := range append(relations,
		given("concurrent", file.Concurrent > 0), given("builds_dir", r.BuildsDir != ""), given("cache_dir", r.CacheDir != ""),
		given("shell", r.Shell != ""), given("config_exec_timeout", c.ConfigExecTimeout > 0), given("force_kill_timeout", c.ForceKillTimeout > 0),
		given("graceful_kill_timeout of 60 s", c.GracefulKillTimeout == 60)) {
		t.Run(relation.Name, func(t *testing.T) {
			if !relation.Holds {
				t.Errorf("does not hold in %s", runnerExample)
			}
		})
	}
}

// The tables of these documents are a driver's file but for the region.
func TestDocumentExamples(t *testing.T) {
	tests := []struct {
		document     string
		nas, volumes int
	}{{"docs/nas.md", 3, 0}, {"docs/volumes.md", 0, 3}}
	for _, tt := range tests {
		t.Run(tt.document, func(t *testing.T) {
			text, err := os.ReadFile("../../" + tt.document)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(text), "```toml\n")
			tables, _, found := strings.Cut(rest, "```")
			cfg, err := Parse(tt.document, []byte("region = \"ap-northeast-1\"\n"+tables))
			if err != nil || !found || len(cfg.NAS) != tt.nas || len(cfg.Volumes) != tt.volumes {
				t.Errorf("%v, %v", cfg, err)
			}
		})
	}
}
