package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

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
		for i := range typ.NumField() {
			f := typ.Field(i)
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
	_, err := Parse("example", []byte(text))
	if err == nil {
		t.Fatal("the settings marked \"not yet\" were accepted")
	}
	var got []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		p, ok := errors.AsType[*Problem](e)
		if !ok || !strings.Contains(p.Text, "not yet") {
			t.Errorf("an example is wrong: %v", e)
			continue
		}
		got = append(got, p.Key)
	}
	slices.Sort(got)
	want := []string{"group.log_service", "image_cache.images", "pull.mirrors", "registry_secret.mount_path", "volume"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// runnerFile is what the tests below look at in the runner's file.
type runnerFile struct {
	Concurrent      int `toml:"concurrent"`
	CheckInterval   int `toml:"check_interval"`
	ShutdownTimeout int `toml:"shutdown_timeout"`
	Runners         []struct {
		Name                  string         `toml:"name"`
		URL                   string         `toml:"url"`
		Token                 string         `toml:"token"`
		Executor              string         `toml:"executor"`
		BuildsDir             string         `toml:"builds_dir"`
		CacheDir              string         `toml:"cache_dir"`
		Shell                 string         `toml:"shell"`
		Environment           []string       `toml:"environment"`
		SafeDirectoryCheckout bool           `toml:"safe_directory_checkout"`
		CustomBuildDir        map[string]any `toml:"custom_build_dir"`
		Custom                struct {
			ConfigExec          string   `toml:"config_exec"`
			ConfigArgs          []string `toml:"config_args"`
			ConfigExecTimeout   int      `toml:"config_exec_timeout"`
			PrepareExec         string   `toml:"prepare_exec"`
			PrepareArgs         []string `toml:"prepare_args"`
			PrepareExecTimeout  int      `toml:"prepare_exec_timeout"`
			RunExec             string   `toml:"run_exec"`
			RunArgs             []string `toml:"run_args"`
			CleanupExec         string   `toml:"cleanup_exec"`
			CleanupArgs         []string `toml:"cleanup_args"`
			CleanupExecTimeout  int      `toml:"cleanup_exec_timeout"`
			GracefulKillTimeout int      `toml:"graceful_kill_timeout"`
			ForceKillTimeout    int      `toml:"force_kill_timeout"`
		} `toml:"custom"`
	} `toml:"runners"`
}

func TestRunnerExample(t *testing.T) {
	f, err := os.Open(runnerExample)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var file runnerFile
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&file); err != nil {
		t.Fatal(err)
	}
	if len(file.Runners) != 1 {
		t.Fatalf("%d runners, want 1", len(file.Runners))
	}
	r, driver := file.Runners[0], Default()
	c := r.Custom
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	checks := []struct {
		name string
		ok   bool
	}{
		{"some jobs at a time", file.Concurrent > 0},
		{"executor custom", r.Executor == "custom"},
		{"builds_dir of the driver", r.BuildsDir == driver.BuildsDir},
		{"cache_dir of the driver", r.CacheDir == driver.CacheDir},
		{"shell of the driver", r.Shell == driver.Shell},
		{"safe_directory_checkout on", r.SafeDirectoryCheckout},
		{"config_exec_timeout given", c.ConfigExecTimeout > 0},
		{"prepare_exec_timeout > ready + delete", seconds(c.PrepareExecTimeout) > driver.Timeouts.Ready+driver.Timeouts.Delete},
		{"cleanup_exec_timeout > delete", seconds(c.CleanupExecTimeout) > driver.Timeouts.Delete},
		{"graceful_kill_timeout = 60", c.GracefulKillTimeout == 60},
		{"30 <= graceful_kill_timeout < 300", c.GracefulKillTimeout >= 30 && c.GracefulKillTimeout < 300},
		{"force_kill_timeout given", c.ForceKillTimeout > 0},
		{"shutdown_timeout > graceful_kill_timeout + cleanup_exec_timeout", file.ShutdownTimeout > c.GracefulKillTimeout+c.CleanupExecTimeout},
	}
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if !check.ok {
				t.Errorf("does not hold in %s", runnerExample)
			}
		})
	}
	stages := []struct {
		name, exec string
		args       []string
	}{
		{"config", c.ConfigExec, c.ConfigArgs},
		{"prepare", c.PrepareExec, c.PrepareArgs},
		{"run", c.RunExec, c.RunArgs},
		{"cleanup", c.CleanupExec, c.CleanupArgs},
	}
	for _, stage := range stages {
		t.Run("stage "+stage.name, func(t *testing.T) {
			want := []string{"--config", "/etc/eci-executor/eci-executor.toml", stage.name}
			if diff := cmp.Diff(want, stage.args); diff != "" {
				t.Error(diff)
			}
			if filepath.Base(stage.exec) != "eci-executor" {
				t.Errorf("runs %q", stage.exec)
			}
		})
	}
}

// The tables of docs/nas.md are a driver's file but for the region.
func TestNASExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/nas.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```toml\n")
	tables, _, found := strings.Cut(rest, "```")
	cfg, err := Parse("docs/nas.md", []byte("region = \"ap-northeast-1\"\n"+tables))
	if err != nil || !found || len(cfg.NAS) != 3 {
		t.Errorf("%v, %v", cfg, err)
	}
}
