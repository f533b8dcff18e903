package stages_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

func TestMain(m *testing.M) {
	relaytest.Enter()
	flag.Parse()
	// Stages wait more than they compute: unless told otherwise, twice as many at once.
	if parallel := flag.Lookup("test.parallel").Value; parallel.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := parallel.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// world is a local ECI and a driver's file that points at it.
type world struct {
	server *ecitest.Server
	dir    string
	config *config.Config
	env    stages.Env

	services []string                        // images of the job's services
	rates    func(action string) stages.Rate // of the host's calls; nil = they are not paced
	relay    string                          // Stage.Relay
	remote   remote.Settings
}

const driverFile = `
region = "ap-northeast-1"
endpoint = %q
state_dir = %q
vswitch_ids = ["vsw-1", "vsw-2"]
security_group_id = "sg-1"
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "host"
cpu = 2
memory = "4GiB"
[helper]
image = "helper:1"
[timeouts]
ready = "60s"
delete = "60s"
call = "15s"
[[nas]]
name = "cache"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/cache"
mount_path = "/cache"
`

// helperBinary stands for gitlab-runner-helper: test/e2e has the real one.
const helperBinary = `#!/bin/bash
[ "$1" = health-check ] || { echo stand-in; exit; }
shift
echo "waiting for TCP connection to localhost on $*..."
while [ "$1" = --port ]; do
	until echo "dialing localhost:$2..."; (: <"/dev/tcp/127.0.0.1/$2") 2>/dev/null; do sleep 0.05; done
	echo "dial succeeded on localhost:$2. Exiting..."
	shift 2
done
`

// hostImage is this machine's root without its gitlab-runner, if it has one: helperBinary
// must be what the helper's scripts find. What hides it are overlayfs's whiteouts.
func hostImage(t testing.TB) ecitest.Image {
	t.Helper()
	top := t.TempDir()
	image, err := ecitest.HostImage(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gitlab-runner", "gitlab-runner-helper"} {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
				continue
			}
			there, err := filepath.EvalSymlinks(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(top, there), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mknod(filepath.Join(top, there, name), syscall.S_IFCHR, 0); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	return image
}

func newWorld(t testing.TB, options ecitest.Options) *world {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	image := hostImage(t)
	helperTop := t.TempDir()
	runner := filepath.Join(helperTop, "usr/bin/gitlab-runner-helper")
	if err := os.MkdirAll(filepath.Dir(runner), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(runner, []byte(helperBinary), 0o755); err != nil {
		t.Fatal(err)
	}
	helper := image
	helper.Layers = append([]string{helperTop}, image.Layers...)
	w := &world{dir: t.TempDir(), remote: remote.DefaultSettings().Scaled(20)}
	options.Dir = t.TempDir()
	user := image
	user.User = "1000:1000"
	images := map[string]ecitest.Image{"host": image, "helper:1": helper, "user:1": user}
	maps.Copy(images, options.Images)
	options.Images = images
	var err error
	if w.server, err = ecitest.Start(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
	})
	ecitest.LeakCheck(t, w.server, time.Minute)
	if w.config, err = config.Parse("test.toml", fmt.Appendf(nil, driverFile, w.server.URL(), filepath.Join(w.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	w.env = stages.Env{BuildFailure: 1, SystemFailure: 2, Attempt: "0123abcd",
		Custom: map[string]string{"CI_RUNNER_VERSION": "19.4.0"}, JobResponseFile: filepath.Join(w.dir, "response.json")}
	w.job(t, nil)
	return w
}

// job writes the job response, with changes laid over it.
func (w *world) job(t testing.TB, changes map[string]any) {
	t.Helper()
	response := map[string]any{
		"id":          42,
		"token":       "job-token",
		"job_info":    map[string]any{"name": "test", "stage": "test", "project_id": 7, "project_name": "app", "project_full_path": "group/app"},
		"git_info":    map[string]any{"repo_url": "https://gitlab.example.com/group/app.git", "ref": "main"},
		"runner_info": map[string]any{"timeout": 600},
		"variables": []map[string]any{
			{"key": "CI_SERVER_HOST", "value": "gitlab.example.com", "public": true},
			{"key": "CI_RUNNER_ID", "value": "12", "public": true},
			{"key": "CI_PIPELINE_ID", "value": "99", "public": true},
			{"key": "SECRET", "value": "s3cret-value", "masked": true},
		},
		"image": map[string]any{"name": "host"},
	}
	var services []map[string]any
	for _, image := range w.services {
		services = append(services, map[string]any{"name": image})
	}
	response["services"] = services
	maps.Copy(response, changes)
	data, err := json.Marshal(response)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.env.JobResponseFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// stage makes a stage whose output goes to the buffer, as a new process would.
func (w *world) stage(t testing.TB, out *bytes.Buffer) *stages.Stage {
	t.Helper()
	job, err := stages.ReadJob(w.env)
	if err != nil {
		t.Fatal(err)
	}
	job.AddServices(w.config)
	client, err := eci.New(eci.Options{Region: w.config.Region, Endpoint: w.config.EndpointURL(), CallTimeout: w.config.Timeouts.Call,
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	logger := logrus.New()
	logger.SetOutput(t.Output())
	s := &stages.Stage{Config: w.config, Job: job, API: client, Clock: stages.SystemClock{},
		Stdout: out, Stderr: t.Output(), Logger: logger, Remote: w.remote, Rates: w.rates, Relay: w.relay}
	if w.rates != nil {
		s.API = s.Paced(client)
	}
	return s
}

func (w *world) context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (w *world) prepare(t testing.TB) (string, error) { return w.prepareFor(t, time.Minute) }

func (w *world) prepareFor(t testing.TB, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out bytes.Buffer
	err := w.stage(t, &out).Prepare(ctx)
	return out.String(), err
}

func (w *world) run(t testing.TB, subStage, script string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := w.stage(t, &out).Run(w.context(t), file, subStage)
	return out.String(), err
}

func (w *world) cleanup(t testing.TB) error {
	return w.stage(t, new(bytes.Buffer)).Cleanup(w.context(t))
}

// awaitNoGroups waits for the deletes that cleanup asked for and did not wait for.
func (w *world) awaitNoGroups(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if live := w.server.AwaitNone(ctx); len(live) > 0 {
		t.Errorf("%d container groups left: %v", len(live), live)
	}
}

// calls counts the API calls by action.
func (w *world) calls() map[string]int {
	n := map[string]int{}
	for _, c := range w.server.Calls() {
		n[c.Action]++
	}
	return n
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// runUntil prepares a job, does something to its group once the script runs, and
// returns what run says.
func (w *world) runUntil(t testing.TB, do func(id string) error) error {
	t.Helper()
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo ready; sleep 300"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := &waiter{text: "ready", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	done := make(chan error, 1)
	go func() { done <- stage.Run(w.context(t), script, "build_script") }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Errorf("it ended before it began: %v", err)
		return err
	}
	if err := do(w.server.Live()[0]); err != nil {
		t.Error(err)
	}
	return <-done
}
