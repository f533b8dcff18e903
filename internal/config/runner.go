package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// RunnerFile is what matters here of the runner's own file, config.toml.
type RunnerFile struct {
	Concurrent      int      `toml:"concurrent"`
	CheckInterval   int      `toml:"check_interval"`
	ShutdownTimeout int      `toml:"shutdown_timeout"` // seconds
	Runners         []Runner `toml:"runners"`
}

// Runner is one [[runners]] table. Timeouts are whole seconds; what is not above 0
// is the runner's default, which the methods give.
type Runner struct {
	Name                  string         `toml:"name"`
	URL                   string         `toml:"url"`
	Token                 Secret         `toml:"token"`
	Executor              string         `toml:"executor"`
	Limit                 int            `toml:"limit"` // jobs of this runner at a time, 0 = as concurrent
	BuildsDir             string         `toml:"builds_dir"`
	CacheDir              string         `toml:"cache_dir"`
	Shell                 string         `toml:"shell"`
	Environment           []string       `toml:"environment"`
	PrepareTimeout        string         `toml:"prepare_timeout"` // such as "20m"; "" is the job's timeout
	SafeDirectoryCheckout bool           `toml:"safe_directory_checkout"`
	CustomBuildDir        map[string]any `toml:"custom_build_dir"`
	Custom                Custom         `toml:"custom"`
}

// Custom is [runners.custom].
type Custom struct {
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
}

// LoadRunner reads the runner's file at path; keys that mean nothing here are passed
// over. No error holds a line of the file, whose tokens are secrets.
func LoadRunner(path string) (*RunnerFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the runner's configuration: %w", err)
	}
	var file RunnerFile
	if err := toml.Unmarshal(data, &file); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, column := at.Position()
			return nil, fmt.Errorf("%s:%d:%d: the runner's configuration is not readable: %s", path, row, column, at.Error())
		}
		return nil, fmt.Errorf("%s: the runner's configuration is not readable", path)
	}
	return &file, nil
}

// Jobs is how many jobs may run at a time.
func (f *RunnerFile) Jobs() int { return max(1, f.Concurrent) }

// JobsOf is how many of them may be r's.
func (f *RunnerFile) JobsOf(r *Runner) int {
	if r.Limit > 0 {
		return min(r.Limit, f.Jobs())
	}
	return f.Jobs()
}

// Ours lists the runners whose jobs the driver runs: those of the custom executor
// that call a program of the driver's name in one of their stages.
func (f *RunnerFile) Ours(program string) []*Runner {
	var ours []*Runner
	for i := range f.Runners {
		r := &f.Runners[i]
		isOurs := func(s runnerStage) bool { return filepath.Base(s.exec) == program }
		if r.Executor == "custom" && slices.ContainsFunc(r.Custom.stages(), isOurs) {
			ours = append(ours, r)
		}
	}
	return ours
}

type runnerStage struct {
	name, exec string
	args       []string
}

func (c *Custom) stages() []runnerStage {
	return []runnerStage{
		{"config", c.ConfigExec, c.ConfigArgs},
		{"prepare", c.PrepareExec, c.PrepareArgs},
		{"run", c.RunExec, c.RunArgs},
		{"cleanup", c.CleanupExec, c.CleanupArgs},
	}
}

// The runner's own defaults (sources.md: runner; common/consts.go).
const (
	defaultExecTimeout  = time.Hour
	defaultGracefulKill = 10 * time.Minute
	defaultShutdown     = 30 * time.Second
	wantedGracefulKill  = time.Minute
	cleansUpRegardless  = 5 * time.Minute
)

func seconds(n int, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// exampleToken stands in config.toml.example for the runner's token.
const exampleToken Secret = "REPLACE-WITH-THE-RUNNER-TOKEN"

// Relation is something that must hold between the runner's file and the driver's.
type Relation struct {
	Name  string // what must hold, in the files' own words
	Holds bool
	Fatal bool   // no job can run where it does not hold
	Fix   string // what to write where it does not hold
}

// Relations are all that must hold for a runner; configFile is the path of the
// driver's file, and program the name of its binary.
func Relations(file *RunnerFile, r *Runner, driver *Config, configFile, program string) []Relation {
	relations := []Relation{{
		Name: `executor = "custom"`, Holds: r.Executor == "custom", Fatal: true,
		Fix: `set executor = "custom" in [[runners]]`,
	}, {
		Name: "url and token are those of a GitLab", Holds: r.URL != "" && r.Token != "" && r.Token != exampleToken, Fatal: true,
		Fix: "set url to the address of your GitLab and token to what it gave for the runner",
	}}
	for _, s := range r.Custom.stages() {
		relations = append(relations, s.relations(configFile, program)...)
	}
	relations = append(relations, sameRelations(r, driver)...)
	return append(relations, timeRelations(file, r, driver.Timeouts)...)
}

func (s runnerStage) relations(configFile, program string) []Relation {
	want := []string{"--config", configFile, s.name}
	return []Relation{{
		Name: fmt.Sprintf("%s_exec is the driver", s.name), Holds: filepath.Base(s.exec) == program && filepath.IsAbs(s.exec), Fatal: true,
		Fix: fmt.Sprintf("set %s_exec = \"/usr/local/bin/%s\", or where the package has it, \"/usr/bin/%s\", in [runners.custom]", s.name, program, program),
	}, {
		Name: fmt.Sprintf("%s_args end with %q and name the driver's file", s.name, s.name), Holds: s.calls(configFile), Fatal: true,
		Fix: fmt.Sprintf("set %s_args = [%s] in [runners.custom]", s.name, quoted(want)),
	}}
}

// calls tells whether the arguments call the stage with the driver's file, which
// need not be named where it is the default one.
func (s runnerStage) calls(configFile string) bool {
	if len(s.args) == 0 || s.args[len(s.args)-1] != s.name {
		return false
	}
	named := DefaultPath
	for i, arg := range s.args[:len(s.args)-1] {
		if value, ok := strings.CutPrefix(strings.TrimPrefix(arg, "-"), "-config="); ok {
			named = value
		} else if strings.TrimPrefix(arg, "-") == "-config" {
			named = s.args[i+1]
		}
	}
	return filepath.Clean(named) == filepath.Clean(configFile)
}

func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, fmt.Sprintf("%q", w))
	}
	return strings.Join(all, ", ")
}

// sameRelations are about what both files may say; the driver's wins.
func sameRelations(r *Runner, driver *Config) []Relation {
	same := func(key, runners, drivers string) Relation {
		return Relation{
			Name: key + " is the driver's", Holds: runners == "" || runners == drivers,
			Fix: fmt.Sprintf("set %s = %q in [[runners]], or leave it out: the driver's wins", key, drivers),
		}
	}
	return []Relation{
		same("builds_dir", r.BuildsDir, driver.BuildsDir),
		same("cache_dir", r.CacheDir, driver.CacheDir),
		same("shell", r.Shell, driver.Shell),
		{Name: "safe_directory_checkout = true", Holds: r.SafeDirectoryCheckout,
			Fix: "set safe_directory_checkout = true in [[runners]]: the checkout belongs to another user than the one git runs as"},
	}
}

func timeRelations(file *RunnerFile, r *Runner, t Timeouts) []Relation {
	c := &r.Custom
	prepare, cleanup := seconds(c.PrepareExecTimeout, defaultExecTimeout), seconds(c.CleanupExecTimeout, defaultExecTimeout)
	graceful, shutdown := seconds(c.GracefulKillTimeout, defaultGracefulKill), seconds(file.ShutdownTimeout, defaultShutdown)
	relations := []Relation{
		{Name: "prepare_exec_timeout > [timeouts] ready + delete", Holds: prepare > t.Ready+t.Delete,
			Fix: fmt.Sprintf("set prepare_exec_timeout above %.0f in [runners.custom], so that the driver gives up first and says why", (t.Ready + t.Delete).Seconds())},
		{Name: "cleanup_exec_timeout > [timeouts] delete", Holds: cleanup > t.Delete,
			Fix: fmt.Sprintf("set cleanup_exec_timeout above %.0f in [runners.custom]", t.Delete.Seconds())},
		{Name: "30 s <= graceful_kill_timeout < 300 s", Holds: graceful >= wantedGracefulKill/2 && graceful < cleansUpRegardless,
			Fix: fmt.Sprintf("set graceful_kill_timeout = %.0f in [runners.custom]: time to empty the container of a cancelled script, and below the 300 s after which the runner cleans up regardless", wantedGracefulKill.Seconds())},
		{Name: "shutdown_timeout > graceful_kill_timeout + cleanup_exec_timeout", Holds: shutdown > graceful+cleanup,
			Fix: fmt.Sprintf("set shutdown_timeout above %.0f at the top, so that a stop of the runner deletes the groups of running jobs", (graceful + cleanup).Seconds())},
	}
	if wait, err := time.ParseDuration(r.PrepareTimeout); r.PrepareTimeout != "" && (err != nil || wait > 0) {
		relations = append(relations, Relation{Name: "prepare_timeout > [timeouts] ready", Holds: err == nil && wait > t.Ready,
			Fix: fmt.Sprintf("set prepare_timeout above %q in [[runners]], or leave it out", t.Ready)})
	}
	return relations
}
