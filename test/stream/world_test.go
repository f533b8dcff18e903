package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
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
	if done, code, err := sandbox.EnterUserNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, err) // tests that need containers say so
	} else if done {
		os.Exit(code)
	}
	flag.Parse()
	// Stages wait more than they compute.
	if err := flag.Set("test.parallel", strconv.Itoa(workers+2)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// kind is a local ECI with the shells of its images. The matrix takes all in turn.
type kind struct {
	name     string
	switches ecitest.Switches
	shell    string            // sh of helper and build; "" = the host's
	tools    map[string]string // helper's, over the host's: name -> program

	transport string // of [exec]; "" = websocket
	shared    bool   // stages share a connection
}

// workers is how many groups of the kind run stages at once.
func (k kind) workers() int {
	if k.bySync() {
		return 1
	}
	return 2
}

// bySync tells that scripts and logs travel by Sync execs.
func (k kind) bySync() bool { return k.transport == "sync" }

func kinds() []kind {
	alpine := map[string]string{}
	for _, tool := range []string{"dd", "stat", "sha256sum", "cksum", "head", "sleep", "cat", "setsid", "base64", "gzip", "mv", "rm"} {
		alpine[tool] = "/usr/bin/busybox"
	}
	return []kind{
		{name: "debian"},
		{name: "alpine", shell: "/usr/bin/busybox", tools: alpine,
			switches: ecitest.Switches{ExecKilledAtDisconnect: true, ExecErrorChannel: true}},
		{name: "bash", shell: "/usr/bin/bash", switches: ecitest.Switches{ExecStartsAtCall: true, ExecOrphanOutput: ecitest.OrphanBlock,
			ExecClosesAtExit: true, EmptyFirstFrame: true, ExecMaxFrame: 32 << 10}},
		{name: "closing", switches: ecitest.Switches{ExecOrphanOutput: ecitest.OrphanClose}},
		{name: "shared", shared: true},
		{name: "shared alpine", shared: true, shell: "/usr/bin/busybox", tools: alpine,
			switches: ecitest.Switches{ExecKilledAtDisconnect: true, ExecStartsAtCall: true}},
		{name: "sync", transport: "sync"},
		{name: "sync alpine", transport: "sync", shell: "/usr/bin/busybox", tools: alpine, switches: ecitest.Switches{
			ExecSyncExitError: "InternalError", ExecSyncBytes: 64 << 10, ExecSyncLimit: 5 * time.Second, ExecCommandBytes: 2048}},
	}
}

// scale is by how much the times of the driver and of ECI are shorter here.
const scale = 100

// scaled are the times of an exec's connection: those of eci.Options and those of
// ECI, 60 s without a frame or ping.
func scaled(k kind, by time.Duration) (kind, eci.Options) {
	k.switches.ExecIdle = time.Minute / by
	return k, eci.Options{PingInterval: 25 * time.Second / by, IdleTimeout: time.Minute / by}
}

// world is a local ECI of a kind, and at most one prepared group there.
type world struct {
	t        testing.TB
	server   *ecitest.Server
	dir      string
	config   *config.Config
	settings remote.Settings
	clock    stages.Clock // of run
	env      stages.Env
	client   *eci.Client // one for all stages: the connections that each keeps open would be too many
	relay    string      // Stage.Relay
	attempts int
}

const driverFile = `
region = "ap-northeast-1"
endpoint = %q
state_dir = %q
vswitch_ids = ["vsw-1"]
security_group_id = "sg-1"
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[build]
image = "build"
cpu = 2
memory = "4GiB"
[helper]
image = "helper:1"
`

const jobResponse = `{"id": 42, "token": "t", "image": {"name": "build"}, "runner_info": {"timeout": 3600},
"job_info": {"name": "test", "stage": "test", "project_id": 7, "project_name": "app", "project_full_path": "group/app"},
"variables": [{"key": "CI_SERVER_HOST", "value": "gitlab.example.com"}, {"key": "CI_RUNNER_ID", "value": "12"}, {"key": "CI_PIPELINE_ID", "value": "99"}]}`

func newWorld(t testing.TB, k kind, options eci.Options, settings remote.Settings) *world {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	w := &world{t: t, dir: t.TempDir(), settings: settings, clock: stages.SystemClock{}}
	if k.bySync() {
		w.clock = fastClock{time.Now()}
	}
	images := map[string]ecitest.Image{"build": image(t, k.shell, nil), "helper:1": image(t, k.shell, k.tools)}
	runner := filepath.Join(images["helper:1"].Layers[0], "usr/local/bin/gitlab-runner-helper")
	must(t, os.WriteFile(runner, []byte("#!/bin/sh\necho stand-in\n"), 0o755))
	var err error
	w.server, err = ecitest.Start(ecitest.Options{Dir: t.TempDir(), Images: images, Switches: k.switches})
	must(t, err)
	t.Cleanup(func() { must(t, w.server.Close()) })
	ecitest.LeakCheck(t, w.server, time.Minute)
	w.config, err = config.Parse("test.toml", fmt.Appendf(nil, driverFile, w.server.URL(), filepath.Join(w.dir, "state")))
	must(t, err)
	w.config.Timeouts.Ready = 24 * time.Hour // all groups of a world are one job's, whose prepares share it
	options.Region, options.Endpoint, options.CallTimeout = w.config.Region, w.config.EndpointURL(), w.config.Timeouts.Call
	options.Credentials = eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}
	w.client, err = eci.New(options)
	must(t, err)
	if w.config.Exec.Transport = "websocket"; k.bySync() {
		w.config.Exec.Transport = k.transport
	}
	if k.shared {
		w.config.Exec.SharedConnection, w.relay = true, relaytest.Program
		t.Cleanup(w.noRelay)
	}
	w.env = stages.Env{BuildFailure: 1, SystemFailure: 2, JobResponseFile: filepath.Join(w.dir, "response.json"),
		BuildExitCodeFile: filepath.Join(w.dir, "status"), Custom: map[string]string{"CI_RUNNER_VERSION": "19.4.0"}}
	must(t, os.WriteFile(w.env.JobResponseFile, []byte(jobResponse), 0o600))
	return w
}

// fastClock makes the rate of Sync execs that of the scaled times.
type fastClock struct{ begun time.Time }

func (c fastClock) Now() time.Time { return c.begun.Add(scale * time.Since(c.begun)) }

func (c fastClock) After(d time.Duration) <-chan time.Time { return time.After(d / scale) }

// image is the host's root with other programs first on PATH.
func image(t testing.TB, shell string, tools map[string]string) ecitest.Image {
	t.Helper()
	img, err := ecitest.HostImage(t.TempDir())
	must(t, err)
	link := func(name, program string) {
		_, err := exec.LookPath(program)
		testneed.Need(t, err)
		must(t, os.Symlink(program, filepath.Join(img.Layers[0], "usr/local/bin", name)))
	}
	if shell != "" {
		link("sh", shell)
	}
	for name, program := range tools {
		link(name, program)
	}
	img.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return img
}

// prepare makes a new group; the old one, if any, is deleted.
func (w *world) prepare() {
	w.t.Helper()
	w.cleanup()
	w.server.SetFaults(ecitest.Faults{})
	w.attempts++
	w.env.Attempt = fmt.Sprintf("%08x", w.attempts)
	must(w.t, w.stage(new(bytes.Buffer)).Prepare(context.Background()))
}

func (w *world) cleanup() {
	w.t.Helper()
	w.server.SetFaults(ecitest.Faults{})
	if w.env.Attempt != "" {
		must(w.t, w.stage(new(bytes.Buffer)).Cleanup(context.Background()))
	}
	w.env.Attempt = ""
}

// stage is as a new process of the driver would make it.
func (w *world) stage(out io.Writer) *stages.Stage {
	w.t.Helper()
	job, err := stages.ReadJob(w.env)
	must(w.t, err)
	logger := logrus.New()
	logger.SetOutput(new(bytes.Buffer))
	return &stages.Stage{Config: w.config, Job: job, API: w.client, Clock: stages.SystemClock{},
		Stdout: out, Stderr: new(bytes.Buffer), Logger: logger, Remote: w.settings, Relay: w.relay}
}

// outcome is all that the runner learns of a stage.
type outcome struct {
	log    []byte
	status int // of the driver
	script int // in BUILD_EXIT_CODE_FILE, -1 = none
	err    error
	execs  int // calls of ExecContainerCommand
	took   time.Duration
	driver string // the driver's own log
	scene  string // what was waited for where it hung
}

// stageLog ends a stage whose log gets nothing for a while. A busy machine may take minutes
// for a stage of millions of frames, and is seen to go on.
type stageLog struct {
	text  bytes.Buffer
	limit time.Duration
	timer *time.Timer
	scene string // set before the stage is ended
}

// awaitSilence ends ctx after limit without a byte. stop is to be called when the stage
// has ended.
func awaitSilence(limit time.Duration) (ctx context.Context, log *stageLog, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	log = &stageLog{limit: limit}
	log.timer = time.AfterFunc(limit, func() {
		log.scene = waited()
		cancel()
	})
	return ctx, log, func() {
		log.timer.Stop()
		cancel()
	}
}

func (l *stageLog) Write(p []byte) (int, error) {
	l.timer.Reset(l.limit)
	return l.text.Write(p)
}

// waited is what this process and all others wait for: who hangs tells nothing when it is
// over.
func waited() string {
	var text strings.Builder
	pprof.Lookup("goroutine").WriteTo(&text, 1) //nolint:errcheck // it is for a look alone
	processes, err := exec.Command("ps", "-eo", "pid,ppid,etimes,stat,wchan:24,args").CombinedOutput()
	fmt.Fprintf(&text, "\nprocesses, error %v:\n%s", err, processes)
	return text.String()
}

// run runs a script as a stage, which is ended where its log gets nothing for limit.
func (w *world) run(subStage, script string, limit time.Duration) outcome {
	w.t.Helper()
	file := filepath.Join(w.dir, "script")
	must(w.t, os.WriteFile(file, []byte(script), 0o700))
	must(w.t, w.env.ClearExitCode())
	ctx, log, stop := awaitSilence(limit)
	defer stop()
	var driver bytes.Buffer
	stage := w.stage(log)
	logger := logrus.New()
	logger.SetOutput(&driver)
	stage.Logger, stage.Clock = logger, w.clock
	begun, before := time.Now(), w.execs()
	o := outcome{script: -1, err: stage.Run(ctx, file, subStage)}
	o.took, o.log, o.driver, o.execs = time.Since(begun), log.text.Bytes(), driver.String(), w.execs()-before
	if ctx.Err() != nil {
		o.err = fmt.Errorf("nothing came for %s: %w", limit, context.DeadlineExceeded)
		o.scene = log.scene
	}
	var err error
	o.status, err = w.env.ExitStatus(o.err)
	must(w.t, err)
	if data, err := os.ReadFile(w.env.BuildExitCodeFile); err == nil {
		must(w.t, json.Unmarshal(data, &o.script))
	}
	return o
}

func (w *world) execs() int { return w.calls("ExecContainerCommand") }

// calls counts the calls of an action so far.
func (w *world) calls(action string) int {
	n := 0
	for _, c := range w.server.Calls() {
		if c.Action == action {
			n++
		}
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
