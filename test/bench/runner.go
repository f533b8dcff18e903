package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
	"github.com/eci-executor/eci-executor/test/e2e/realrunner"
)

const (
	nasServer  = "nas-1.ap-northeast-1.nas.aliyuncs.com"
	readyMark  = "ready-42"
	printFor   = 30               // lines of each job, one a second
	upTo       = 10 * time.Minute // for all jobs to be there
	teeCommand = "tee"            // by which the benchmark's own binary stands before a driver
	teeEvery   = 10               // of so many jobs one has a witness of what comes on the driver's stdout
)

// together is the script of a job that prints when all of them are there: it waits at a
// FIFO, and for each second in its own shell, as the containers' processes, which a cloud
// has elsewhere, run on this machine's cores.
var together = fmt.Sprintf(`echo ready-$((40 + 2)); read -r _ </go/start || :; mkfifo /tmp/tick; exec 9<>/tmp/tick; read -r -t 0.$((RANDOM %% 10)) -u 9 || :; i=0; while [ $i -lt %d ]; do read -r -t 1 -u 9 || :; echo $EPOCHREALTIME; i=$((i+1)); done`, printFor)

const onNAS = `[[nas]]
name = "go"
server = "` + nasServer + `"
path = "/go"
mount_path = "/go"
`

const runnerFile = `concurrent = %[1]d
check_interval = 1
shutdown_timeout = 60
[[runners]]
name = "bench"
url = %[2]q
id = 1
token = "glrt-bench-runner-token"
executor = "custom"
request_concurrency = %[1]d
[runners.feature_flags]
FF_TIMESTAMPS = false
[runners.custom]
config_exec = %[3]q
config_args = ["--config", %[4]q, "config"]
config_exec_timeout = 120
prepare_exec = %[3]q
prepare_args = ["--config", %[4]q, "prepare"]
prepare_exec_timeout = 600
run_exec = %[5]q
run_args = ["` + teeCommand + `", %[6]q, %[3]q, "--config", %[4]q, "run"]
cleanup_exec = %[3]q
cleanup_args = ["--config", %[4]q, "cleanup"]
cleanup_exec_timeout = 120
graceful_kill_timeout = 60
force_kill_timeout = 10
`

// runnerWorld is a real runner between a stand-in for GitLab and the driver.
type runnerWorld struct {
	*world
	gitlab  *httptest.Server
	coord   *coordinator.Coordinator
	traces  traces
	seen    string // the folder of what witnesses have seen
	command *exec.Cmd
	log     bytes.Buffer
}

// measureRunner has many jobs of a real runner print at the same time.
func measureRunner(ctx context.Context, o options, driver, dir string, t *table) (err error) {
	o.shared = true // which has one process more a job
	w, err := newWorld(profiles(o)["zero"], o, driver, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	r := &runnerWorld{world: w, coord: coordinator.New(), seen: filepath.Join(dir, "seen")}
	r.traces.jobs = map[string]*arrivals{}
	r.gitlab = httptest.NewServer(r.traces.before(r.coord))
	defer r.gitlab.Close()
	if err := r.start(ctx, o.runner); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	s, err := r.print(ctx, o.runner)
	t.runner(s)
	return err
}

// start starts the runner.
func (r *runnerWorld) start(ctx context.Context, jobs int) error {
	binary, err := realrunner.Build("test/e2e/runner")
	if err != nil {
		return err
	}
	witness, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := r.host("host")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, onNAS...), 0o600); err != nil {
		return err
	}
	config := filepath.Join(r.dir, "config.toml")
	text = fmt.Appendf(nil, runnerFile, jobs, r.gitlab.URL, r.driver, file, witness, r.seen)
	if err := errors.Join(os.WriteFile(config, text, 0o600), os.Mkdir(r.seen, 0o700)); err != nil {
		return err
	}
	r.command = exec.CommandContext(context.WithoutCancel(ctx), binary, "run", "--config", config, "--working-directory", r.dir) //nolint:gosec // our own runner
	r.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "TMPDIR=" + r.dir}
	r.command.Stdout, r.command.Stderr = &r.log, &r.log
	return r.command.Start()
}

// stop has the runner end its jobs and then itself.
func (r *runnerWorld) stop() error {
	kill := time.AfterFunc(2*time.Minute, func() { r.command.Process.Kill() }) //nolint:errcheck // it has ended
	defer kill.Stop()
	if err := r.command.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	if err := r.command.Wait(); err != nil {
		return fmt.Errorf("the runner: %w\n%s", err, r.log.Bytes())
	}
	return nil
}

// ran is what jobs with their runner took.
type ran struct {
	jobs, failed  int
	up            time.Duration // until all were there
	runner        memory
	all           float64   // MiB of all processes on the runner's host, what they share counted once
	drivers       []float64 // MiB of private memory of each
	relays        []float64
	stdout, trace []time.Duration // lags of lines
}

// print has the jobs print at the same time and looks at the processes once.
func (r *runnerWorld) print(ctx context.Context, jobs int) (s ran, err error) {
	s.jobs = jobs
	gate := filepath.Join(r.server.NASDir(nasServer, "/go"), "start")
	if err := os.MkdirAll(filepath.Dir(gate), 0o755); err != nil { //nolint:gosec // jobs read it
		return s, err
	}
	if err := syscall.Mkfifo(gate, 0o644); err != nil {
		return s, err
	}
	enter := sync.OnceValue(func() error { return open(gate) })
	defer enter() //nolint:errcheck // where all goes well it is told below
	begun := time.Now()
	var ids []int64
	var there []<-chan struct{}
	for range jobs {
		id := r.coord.Enqueue(coordinator.Job{Image: coordinator.Image{Name: "build:1"}, Script: []string{together}})
		ids, there = append(ids, id), append(there, r.coord.Reached(id, readyMark))
	}
	late := time.After(upTo)
	for i, event := range there {
		select {
		case <-event:
		case <-ctx.Done():
			return s, ctx.Err()
		case <-late:
			return s, fmt.Errorf("job %d does not get to its script:\n%s\n%s", ids[i], r.coord.Trace(ids[i]), r.log.Bytes())
		}
	}
	s.up = time.Since(begun)
	if err := enter(); err != nil {
		return s, err
	}
	time.Sleep(printFor / 2 * time.Second)
	r.look(&s)
	for _, id := range ids {
		result, err := r.coord.Wait(ctx, id)
		if err != nil || result.State != "success" {
			s.failed++
			fmt.Fprintf(os.Stderr, "job %d: %s, %v\n%s\n", id, result.State, err, result.Trace) // the table counts it
		}
	}
	s.trace = r.traces.lags()
	s.stdout, err = r.witnessed()
	return s, err
}

// open lets all through who wait at a FIFO, and those who come later.
func open(gate string) error {
	writer, err := os.OpenFile(gate, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(gate+".open", nil, 0o644); err != nil { //nolint:gosec // jobs read it
		return err
	}
	return errors.Join(os.Rename(gate+".open", gate), writer.Close())
}

// look takes in what the processes of the runner's host have.
func (r *runnerWorld) look(s *ran) {
	s.runner = memoryOf(r.command.Process.Pid)
	s.all = s.runner.share
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != r.driver {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		words, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		m := memoryOf(pid)
		s.all += m.share
		if slices.Contains(strings.Split(string(words), "\x00"), "relay") {
			s.relays = append(s.relays, m.private)
		} else {
			s.drivers = append(s.drivers, m.private)
		}
	}
}

// traces notes how old lines are when GitLab gets them.
type traces struct {
	mu   sync.Mutex
	jobs map[string]*arrivals // by path
}

// before looks at what next is sent.
func (t *traces) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			t.took(r.URL.Path, body)
		}
		next.ServeHTTP(w, r)
	})
}

func (t *traces) took(job string, body []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.jobs[job] == nil {
		t.jobs[job] = &arrivals{}
	}
	t.jobs[job].Write(body) //nolint:errcheck // never fails
}

func (t *traces) lags() (all []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.jobs {
		all = append(all, a.lags...)
	}
	return all
}

// tee stands between the runner and the driver of some jobs, and notes in a folder how
// old lines are when they come on its stdout: tee FOLDER DRIVER ARG... Of the others it
// becomes the driver.
func tee(words []string) error {
	folder, driver := words[0], words[1:]
	if id, err := strconv.Atoi(os.Getenv("CUSTOM_ENV_CI_JOB_ID")); err != nil || id%teeEvery != 0 {
		return syscall.Exec(driver[0], driver, os.Environ()) //nolint:gosec // our own driver
	}
	var seen arrivals
	command := exec.Command(driver[0], driver[1:]...) //nolint:gosec // our own driver
	command.Stdout, command.Stderr = io.MultiWriter(&seen, os.Stdout), os.Stderr
	if err := command.Run(); err != nil {
		return err
	}
	if len(seen.lags) == 0 {
		return nil
	}
	var text []byte
	for _, lag := range seen.lags {
		text = fmt.Appendln(text, lag.Microseconds())
	}
	return os.WriteFile(filepath.Join(folder, os.Getenv("CUSTOM_ENV_CI_JOB_ID")), text, 0o600)
}

// witnessed reads what the witnesses have seen.
func (r *runnerWorld) witnessed() (lags []time.Duration, err error) {
	files, err := filepath.Glob(filepath.Join(r.seen, "*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			us, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				return nil, err
			}
			lags = append(lags, time.Duration(us)*time.Microsecond)
		}
	}
	return lags, nil
}
