package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// subStages are those of a job with a clone, artifacts and an after_script.
func subStages() []string {
	return []string{"prepare_script", "get_sources", "build_script", "after_script", "upload_artifacts_on_success", "cleanup_file_variables"}
}

// script tells when it began and when it ended, by the clock that the host has too.
const script = "echo begin $EPOCHREALTIME\necho hello\necho end $EPOCHREALTIME\n"

// between is what lies between two stages of a job with a real runner, which writes the
// next script and looks at the job's state, and between two jobs, of which it asks for the
// next: time in which PID 1 makes its next seat, and ECI, which has a machine of its own,
// ends the exec or the group before.
const between = 100 * time.Millisecond

// result is what a job took.
type result struct {
	group    ecitest.GroupInfo
	calls    map[string]int // by action
	polls    int            // looks at the job's own group
	config   time.Duration
	cleanup  time.Duration
	ready    time.Time     // end of prepare
	prepare  time.Duration // by how much later than the group could be used scripts could run
	runs     []run
	floor    []time.Duration // the same scripts by a bare exec in the same container
	toDelete time.Duration   // from the last line of the log to the delete call, without the runner's own time
	first    bool            // of its host, which knows nothing of its groups yet
	billed   time.Duration
	idle     time.Duration // billed without a script's running and without the group's own start
	failed   error
}

// run is one call of run.
type run struct {
	whole, toBegin, script time.Duration
	cpu                    time.Duration
}

// own is what a run took beyond its script.
func (r run) own() time.Duration { return r.whole - r.script }

// job is a job of a host.
type job struct {
	*world
	id         int
	file       string
	env        []string
	scriptFile string
}

func (w *world) newJob(file string, id int) (*job, error) {
	response, err := w.response(id, nil)
	if err != nil {
		return nil, err
	}
	j := &job{world: w, id: id, file: file, scriptFile: filepath.Join(w.dir, fmt.Sprintf("script-%d", id))}
	j.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "JOB_RESPONSE_FILE=" + response, "BUILD_FAILURE_EXIT_CODE=1",
		"SYSTEM_FAILURE_EXIT_CODE=2", "CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0"}
	return j, os.WriteFile(j.scriptFile, []byte(script), 0o700) //nolint:gosec // a script
}

// stage runs a stage as a process, and returns what it printed and when it last did so.
func (j *job) stage(ctx context.Context, args ...string) (out stamped, command *exec.Cmd, err error) {
	var stderr bytes.Buffer
	command = exec.CommandContext(ctx, j.driver, append([]string{"--config", j.file}, args...)...) //nolint:gosec // our own driver
	command.Env, command.Stdout, command.Stderr = j.env, &out, &stderr
	if err := command.Run(); err != nil {
		return out, command, fmt.Errorf("job %d: %s: %w\n%s%s", j.id, strings.Join(args, " "), err, out.text, stderr.Bytes())
	}
	return out, command, nil
}

// stamped is output with the time of its last byte.
type stamped struct {
	text []byte
	last time.Time
}

func (s *stamped) Write(p []byte) (int, error) {
	s.last, s.text = time.Now(), append(s.text, p...)
	return len(p), nil
}

// work takes the job through all its stages. bare adds the floor's scripts.
func (j *job) work(ctx context.Context, bare bool) (r result) {
	begun := time.Now()
	out, _, err := j.stage(ctx, "config")
	r.config = time.Since(begun)
	if err != nil {
		return result{failed: err}
	}
	var document struct {
		JobEnv map[string]string `json:"job_env"`
	}
	if err := json.Unmarshal(out.text, &document); err != nil {
		return result{failed: err}
	}
	for key, value := range document.JobEnv {
		j.env = append(j.env, key+"="+value)
	}
	spent, err := j.scripts(ctx, &r, bare)
	begun = time.Now()
	_, _, cleanupErr := j.stage(context.WithoutCancel(ctx), "cleanup")
	r.cleanup = time.Since(begun)
	if r.failed = errors.Join(err, cleanupErr); r.failed == nil {
		j.account(&r, begun, spent)
	}
	return r
}

// scripts prepares the job, runs its scripts and then those of the floor, and returns
// how much of the group's time the floor took, with the pause after it.
func (j *job) scripts(ctx context.Context, r *result, bare bool) (spent time.Duration, err error) {
	if _, _, err := j.stage(ctx, "prepare"); err != nil {
		return 0, err
	}
	r.ready = time.Now()
	if r.group, err = j.group(); err != nil {
		return 0, err
	}
	for _, stage := range subStages() {
		time.Sleep(between)
		begun := time.Now()
		out, command, err := j.stage(ctx, "run", j.scriptFile, stage)
		if err != nil {
			return 0, err
		}
		ended := time.Now()
		one, err := timesOf(string(out.text), begun, ended)
		if err != nil {
			return 0, err
		}
		one.cpu = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
		r.runs = append(r.runs, one)
		r.toDelete = ended.Sub(out.last)
	}
	begun := time.Now()
	for range subStages() {
		if !bare {
			break
		}
		took, err := j.bare(ctx, r.group.ID)
		if err != nil {
			return 0, err
		}
		r.floor = append(r.floor, took)
	}
	if bare {
		time.Sleep(between)
	}
	if r.group, err = j.group(); err != nil { // by now all of it has started
		return 0, err
	}
	return time.Since(begun), nil
}

// usable is from when scripts can run in a group.
func usable(g ecitest.GroupInfo) (at time.Time) {
	for _, started := range g.Started {
		if started.After(at) {
			at = started
		}
	}
	return at
}

// group is the job's own.
func (j *job) group() (ecitest.GroupInfo, error) {
	for _, g := range j.server.Groups() {
		if g.Tags["job"] == strconv.Itoa(j.id) {
			return g, nil
		}
	}
	return ecitest.GroupInfo{}, fmt.Errorf("job %d has no group", j.id)
}

// timesOf reads what the script has told.
func timesOf(out string, begun, ended time.Time) (run, error) {
	var at [2]time.Time
	for i, mark := range []string{"begin ", "end "} {
		_, text, _ := strings.Cut(out, mark)
		var err error
		if at[i], err = clockTime(text); err != nil {
			return run{}, fmt.Errorf("the script did not tell its times: %q", out)
		}
	}
	return run{whole: ended.Sub(begun), toBegin: at[0].Sub(begun), script: at[1].Sub(at[0])}, nil
}

// clockTime reads a line of EPOCHREALTIME.
func clockTime(text string) (time.Time, error) {
	seconds, _, _ := strings.Cut(text, "\n")
	value, err := strconv.ParseFloat(seconds, 64)
	return time.UnixMicro(int64(value * 1e6)), err
}

// bare runs the script by an exec in the build container, and nothing more.
func (j *job) bare(ctx context.Context, group string) (time.Duration, error) {
	begun := time.Now()
	stream, err := j.client.Exec(ctx, eci.ExecRequest{GroupID: group, Container: "build", Command: []string{"bash", "-c", script}})
	if err != nil {
		return 0, err
	}
	defer stream.Close() //nolint:errcheck // all was read
	out, err := io.ReadAll(stream)
	if err != nil {
		return 0, err
	}
	one, err := timesOf(string(out), begun, time.Now())
	return one.own(), err
}

// account reads the rest of the job's figures from the server's record: cleanup is when
// that began, spent what the floor took of the group's time.
func (j *job) account(r *result, cleanup time.Time, spent time.Duration) {
	r.calls = map[string]int{"ExecContainerCommand": -len(r.floor)}
	ready := r.ready
	for _, c := range j.server.Calls() {
		if !j.made(c, r.group) {
			continue
		}
		r.calls[c.Action]++
		// Where prepare did not wait for all of the group and it takes no exec before, its
		// first script does.
		if c.Action == "ExecContainerCommand" && c.Code == "IncorrectStatus" {
			ready = time.Time{}
		}
		if c.Action == "ExecContainerCommand" && c.Code == "" && ready.IsZero() {
			ready = c.Time
		}
		if c.Action == "DescribeContainerGroups" && c.Params.Has("ContainerGroupIds") {
			r.polls++
		}
		if c.Action == "DeleteContainerGroup" {
			r.toDelete += c.Time.Sub(cleanup)
			r.billed = c.Time.Sub(r.group.Placed) - spent
		}
	}
	r.prepare = max(0, ready.Sub(usable(r.group)))
	r.idle = r.billed - usable(r.group).Sub(r.group.Placed)
	for _, one := range r.runs {
		r.idle -= one.script
	}
}

// made tells whether the driver made a call for this job. A price is of no job.
func (j *job) made(c ecitest.Call, g ecitest.GroupInfo) bool {
	if c.Params.Has("ContainerGroupId") {
		return c.Params.Get("ContainerGroupId") == g.ID
	}
	if c.Params.Has("ContainerGroupIds") {
		return strings.Contains(c.Params.Get("ContainerGroupIds"), g.ID)
	}
	for name := range c.Params {
		if strings.HasSuffix(name, ".Key") && c.Params.Get(name) == "attempt" {
			return c.Params.Get(strings.TrimSuffix(name, "Key")+"Value") == g.Tags["attempt"]
		}
	}
	return false
}

// alone has each host do its jobs one after the other.
func (w *world) alone(ctx context.Context, hosts, jobs int) ([]result, error) {
	return w.together(hosts, func(n int) ([]result, error) {
		file, err := w.host(fmt.Sprintf("host-%d", n))
		if err != nil {
			return nil, err
		}
		var results []result
		for i := range jobs {
			j, err := w.newJob(file, n*jobs+i+1)
			if err != nil {
				return nil, err
			}
			time.Sleep(between)
			r := j.work(ctx, true)
			r.first = i == 0
			if r.failed != nil {
				return nil, r.failed
			}
			results = append(results, r)
		}
		return results, nil
	})
}

// crowded is what jobs took that a host did at the same time.
type crowded struct {
	results []result
	calls   []ecitest.Call // of them
	took    time.Duration
}

// crowd has one host do all jobs at the same time, after one that has it learn whether
// a Pending group takes execs.
func (w *world) crowd(ctx context.Context, jobs int) (c crowded, err error) {
	file, err := w.host("host")
	if err != nil {
		return c, err
	}
	first, err := w.newJob(file, jobs+1)
	if err != nil {
		return c, err
	}
	if r := first.work(ctx, false); r.failed != nil {
		return c, r.failed
	}
	learnt, begun := len(w.server.Calls()), time.Now()
	c.results, err = w.together(jobs, func(n int) ([]result, error) {
		j, err := w.newJob(file, n+1)
		if err != nil {
			return nil, err
		}
		return []result{j.work(ctx, false)}, nil
	})
	c.took, c.calls = time.Since(begun), w.server.Calls()[learnt:]
	return c, err
}

// together does n things at once.
func (w *world) together(n int, f func(n int) ([]result, error)) ([]result, error) {
	var mu sync.Mutex
	var all []result
	var errs []error
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			results, err := f(i)
			mu.Lock()
			defer mu.Unlock()
			all, errs = append(all, results...), append(errs, err)
		})
	}
	work.Wait()
	return all, errors.Join(errs...)
}
