package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

var seed = flag.Uint64("seed", 0, "of the kills at random times; 0 draws one")

// killWorld is a local ECI and a driver whose processes are killed.
type killWorld struct {
	dir    string
	server *ecitest.Server
}

func newKillWorld(t *testing.T) *killWorld {
	t.Helper()
	needSandbox(t)
	w := &killWorld{dir: t.TempDir()}
	var err error
	if w.server, err = startECI(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, w.server) })
	w.configure(t, "eci-executor.toml", w.server.URL())
	return w
}

func (w *killWorld) configure(t *testing.T, name, endpoint string) {
	t.Helper()
	text := fmt.Appendf(nil, driverFile, endpoint, filepath.Join(w.dir, "state"))
	if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// job writes the response of a job and returns its file.
func (w *killWorld) job(t *testing.T, id int) string {
	t.Helper()
	file := filepath.Join(w.dir, fmt.Sprintf("job-%d.json", id))
	text := fmt.Sprintf(`{"id": %d, "job_info": {"project_id": 1}, "image": {"name": "host"}, "variables": [
		{"key": "CI_SERVER_HOST", "value": "gitlab.example.com"}, {"key": "CI_RUNNER_ID", "value": "12"}]}`, id)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// driver is a process of the driver.
type driver struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
	err    error // once ended
}

// command is a process of the driver that is not started yet.
func (w *killWorld) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Path: program, Args: append([]string{"eci-executor"}, args...),
		Env: append(os.Environ(), "ECI_EXECUTOR_CONFIG="+filepath.Join(w.dir, "eci-executor.toml"), "SYSTEM_FAILURE_EXIT_CODE=42", "CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0")}
}

func (w *killWorld) start(t *testing.T, args ...string) *driver {
	t.Helper()
	d := &driver{cmd: w.command(t, args...), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Kill() //nolint:errcheck // it has ended in most cases
		<-d.ended
	})
	return d
}

// run is a process that nobody kills.
func (w *killWorld) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	d := w.start(t, args...)
	<-d.ended
	return d.output.String(), d.err
}

// kill sends the signal and returns when the process has ended.
func (d *driver) kill(t *testing.T, signal syscall.Signal) {
	if err := d.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		t.Errorf("%v does not end the process", signal)
		d.cmd.Process.Kill() //nolint:errcheck // the test has failed
		<-d.ended
	}
}

// killedAt starts a process and kills it when it makes its n-th call of an action;
// effect says whether the call has one all the same.
func (w *killWorld) killedAt(t *testing.T, signal syscall.Signal, action string, n int, effect bool, args ...string) *driver {
	t.Helper()
	before, begun := w.server.Calls(), 0
	for _, c := range before {
		if c.Action == action {
			begun++
		}
	}
	started := make(chan *driver, 1)
	killed := false
	w.server.SetFaults(ecitest.Faults{Call: func(a string, i int) ecitest.CallFault {
		if a != action || i-begun != n {
			return ecitest.CallFault{}
		}
		d := <-started
		d.kill(t, signal)
		killed = true
		return ecitest.CallFault{CutBefore: !effect, CutAfter: effect}
	}})
	d := w.start(t, args...)
	started <- d
	<-d.ended
	// The call's effect may come after the process's end, and those of calls beside it later still.
	cut := func(c ecitest.Call) bool { return c.Action == action && (c.Code == "cut" || c.Code == "left") }
	for until := time.Now().Add(time.Minute); !slices.ContainsFunc(w.server.Calls()[len(before):], cut); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%v was not killed at its call %d of %s: %v\n%s", args, n, action, d.err, d.output.String())
		}
	}
	w.server.SetFaults(ecitest.Faults{})
	if !killed {
		t.Fatal("the process was not killed")
	}
	return d
}

// reaped wants that a reap finds or makes an end of everything.
func (w *killWorld) reaped(t *testing.T, args ...string) {
	t.Helper()
	out, err := w.run(t, append(args, "reap")...)
	if err != nil || !strings.Contains(out, "\n0 container groups left\n") && !strings.HasPrefix(out, "0 container groups left\n") {
		t.Errorf("reap: %v\n%s", err, out)
	}
	w.noGroups(t)
}

func (w *killWorld) noGroups(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(time.Minute); len(w.server.Live()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d container groups left: %v", len(w.server.Live()), w.server.Live())
		}
	}
}

// A prepare that is killed leaves what cleanup deletes, a cleanup that is killed
// what the next prepare or reap deletes.
func TestKilled(t *testing.T) {
	const create, describe, remove = "CreateContainerGroup", "DescribeContainerGroups", "DeleteContainerGroup"
	tests := []struct {
		name, stage string
		action      string
		n           int
		effect      bool
	}{
		{"in create, before it takes effect", "prepare", create, 0, false},
		{"in create, which takes effect", "prepare", create, 0, true},
		{"at the first look at its group", "prepare", describe, 0, false},
		{"before the delete takes effect", "cleanup", remove, 0, false},
		{"in the delete, which takes effect", "cleanup", remove, 0, true},
		{"while it looks for more groups", "cleanup", describe, 0, false},
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, finisher := range []string{"prepare", "reap"} {
			for _, tt := range tests {
				if finisher == "prepare" && (tt.stage == "prepare" || signal == syscall.SIGTERM) {
					continue // a reap shows as much
				}
				t.Run(fmt.Sprintf("%v/%s %s/%s", signal, tt.stage, tt.name, finisher), func(t *testing.T) {
					w := newKillWorld(t)
					job := w.job(t, 1)
					if tt.stage == "cleanup" {
						if out, err := w.run(t, "prepare", "--job", job); err != nil {
							t.Fatalf("%v\n%s", err, out)
						}
					}
					killed := w.killedAt(t, signal, tt.action, tt.n, tt.effect, tt.stage, "--job", job)
					if status := killed.cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && status != 42 {
						t.Errorf("exit status %d\n%s", status, killed.output.String())
					}
					if tt.stage == "prepare" {
						if out, err := w.run(t, "cleanup", "--job", job); err != nil {
							t.Errorf("%v\n%s", err, out)
						}
						w.noGroups(t)
					}
					if finisher == "prepare" {
						w.laterJob(t)
					}
					w.reaped(t)
				})
			}
		}
	}
}

// laterJob takes another job through its stages and wants that no group is left
// by it or by the one before.
func (w *killWorld) laterJob(t *testing.T) {
	t.Helper()
	job := w.job(t, 2)
	for _, stage := range []string{"prepare", "cleanup"} {
		if out, err := w.run(t, stage, "--job", job); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	w.noGroups(t)
}

// killedAtItsStart kills a stage while it reads its job, before it has done or
// written anything.
func (w *killWorld) killedAtItsStart(t *testing.T, stage string) {
	t.Helper()
	fifo := filepath.Join(w.dir, stage+".fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	d := w.start(t, stage, "--job", fifo)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns when the stage has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.kill(t, syscall.SIGKILL)
}

// Nobody can tell the job of a cleanup that was killed before its first write from
// one that runs for long: its group is deleted when its time is over.
func TestKilledBeforeTheFirstWrite(t *testing.T) {
	w := newKillWorld(t)
	if out, err := w.run(t, "prepare", "--job", w.job(t, 1)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.killedAtItsStart(t, "cleanup")
	if out, err := w.run(t, "reap"); err != nil || !strings.Contains(out, "may run for") {
		t.Errorf("%v\n%s", err, out)
	}
	w.configure(t, "later.toml", later(t, w.server.URL(), 3*time.Hour))
	w.reaped(t, "--config", filepath.Join(w.dir, "later.toml"))
}

// A cleanup whose runner is gone, so that nobody reads its log, does all of its work.
func TestCleanupUnread(t *testing.T) {
	w := newKillWorld(t)
	job := w.job(t, 1)
	if out, err := w.run(t, "prepare", "--job", job); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	reader, unread, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer unread.Close()
	cmd := w.command(t, "cleanup", "--job", job)
	cmd.Stdout, cmd.Stderr = unread, unread
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	w.noGroups(t)
	if records, err := filepath.Glob(filepath.Join(w.dir, "state", "*.attempt.json")); err != nil || len(records) > 0 {
		t.Errorf("left: %v, error %v", records, err)
	}
}

// Before its intent is stored, prepare has done nothing.
func TestKilledBeforeTheIntent(t *testing.T) {
	w := newKillWorld(t)
	w.killedAtItsStart(t, "prepare")
	if calls := w.server.Calls(); len(calls) > 0 {
		t.Errorf("%d calls were made", len(calls))
	}
	if out, err := w.run(t, "cleanup", "--job", w.job(t, 1)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	w.reaped(t)
}

// Stages killed at random times leave nothing that cleanup, a later reap, and at
// last one when the groups' time is over, don't find.
func TestKilledAtRandomTimes(t *testing.T) {
	drawn := *seed
	if drawn == 0 {
		drawn = rand.Uint64()
	}
	t.Logf("-seed %d", drawn)
	random := rand.New(rand.NewPCG(drawn, 0))
	w := newKillWorld(t)
	killedIn := func(limit time.Duration, args ...string) {
		d := w.start(t, args...)
		select { // the time of the kill is the fault
		case <-time.After(time.Duration(random.Int64N(int64(limit)))):
		case <-d.ended:
		}
		d.kill(t, syscall.SIGKILL)
	}
	for i := range 20 {
		job := w.job(t, 100+i)
		killedIn(300*time.Millisecond, "prepare", "--job", job)
		if random.IntN(2) == 0 {
			killedIn(100*time.Millisecond, "cleanup", "--job", job)
		}
		if random.IntN(4) > 0 { // as a runner that lives on
			if out, err := w.run(t, "cleanup", "--job", job); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
	}
	if out, err := w.run(t, "reap"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	w.configure(t, "later.toml", later(t, w.server.URL(), 3*time.Hour))
	w.reaped(t, "--config", filepath.Join(w.dir, "later.toml"))
}

// later is the address of an ECI whose clock is ahead.
func later(t *testing.T, endpoint string, by time.Duration) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int64
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			answers.Add(1)
			r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	t.Cleanup(func() {
		server.Close()
		if answers.Load() == 0 {
			t.Error("nobody asked the later ECI")
		}
	})
	return server.URL
}

// removeAll deletes every group, with the API's own words.
func (w *killWorld) removeAll(t *testing.T) {
	t.Helper()
	client, err := newTestClient(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range w.server.Live() {
		if err := client.DeleteContainerGroup(t.Context(), id, true); err != nil {
			t.Error(err)
		}
	}
}

// processesWith are the processes that have something below dir mounted.
func processesWith(dir string) (found []string) {
	tables, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, path := range tables {
		if table, err := os.ReadFile(path); err == nil && bytes.Contains(table, []byte(dir)) {
			found = append(found, path)
		}
	}
	return found
}

func editJSON(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	change(value)
	if data, err = json.Marshal(value); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
