package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

var long = flag.Bool("long", false, "10,000 jobs in the chaos test, not 300")

// chaosFaults are what goes wrong meanwhile. Nothing of it excuses a wrong result.
var chaosFaults = []string{
	"*:error=InternalError,probability=0.03",
	"*:error=ServiceUnavailable,probability=0.02",
	"*:error=429/Throttling.User,probability=0.03",
	"*:delay=80ms,probability=0.1",
	"*:delay-after=300ms,probability=0.05",
	"*:cut=before,probability=0.03",
	"*:cut=after,probability=0.03",
	"*:truncate=20,probability=0.02",
	"CreateContainerGroup:error=OperationDenied.NoStock,probability=0.03",
	"DeleteContainerGroup:error=IncorrectStatus,probability=0.1",
	"exec:refuse,probability=0.04",
	"exec:drop=700,probability=0.05",
	"exec:swallow=9,probability=0.003",
	"exec:stdin-lose=30,probability=0.01",
	"exec:stdin-cut=50,probability=0.03",
	"group:hidden=700ms,probability=0.1",
	"group:schedule-failed=NoStock,probability=0.03",
	"group:kill=build,after=100ms,probability=0.02",
	"group:kill=helper,after=100ms,probability=0.02",
	"group:delete,after=150ms,probability=0.03",
}

const chaosFile = `region = "ap-northeast-1"
endpoint = %q
state_dir = %q
[credentials]
access_key_id = "local"
access_key_secret = "local-secret"
[helper]
image = "helper:1"
[timeouts]
ready = "30s"
delete = "5s"
call = "2s"
[[nas]]
name = "cache"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/cache"
mount_path = "/cache"
[exec]
shared_connection = %t
`

// TestChaos takes jobs through all that can go wrong, as runners would that are
// themselves killed and started again: no result is one that the job's script did
// not have, and what a reap leaves is nothing of ours and all that is others'.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	jobs := 300
	if *long {
		jobs = 10_000
	}
	c := newChaos(t)
	others := c.others()
	rules, err := ecitest.ParseRules(chaosFaults...)
	if err != nil {
		t.Fatal(err)
	}
	c.server.SetFaults(ecitest.Faults{Rules: rules, Seed: c.seed})
	c.jobs(jobs)
	c.server.SetFaults(ecitest.Faults{})
	t.Logf("%d jobs: %v, %d API calls", jobs, c.counts, len(c.server.Calls()))
	if c.counts["green"] < jobs/4 || c.counts["failed by its script"] < jobs/20 || c.counts["abandoned"] == 0 || c.counts["system failure"] == 0 {
		t.Error("the test shows little: too few jobs came to one of these ends")
	}
	c.spared()
	c.reap(others)
}

// chaos is the world of that test.
type chaos struct {
	*killWorld
	t    *testing.T
	seed uint64

	epoch atomic.Int64 // counts the restarts of runners
	done  atomic.Int64 // jobs

	mu     sync.Mutex
	counts map[string]int      // jobs by their end
	served map[string]interval // by group, when its job needed it
}

type interval struct{ from, to time.Time }

func newChaos(t *testing.T) *chaos {
	c := &chaos{killWorld: newKillWorld(t), t: t, seed: *seed, counts: map[string]int{}, served: map[string]interval{}}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	t.Logf("-seed %d", c.seed)
	c.configure(t, "eci-executor.toml", c.server.URL(), false)
	c.configure(t, "shared.toml", c.server.URL(), true)
	return c
}

func (c *chaos) configure(t *testing.T, name, endpoint string, shared bool) {
	t.Helper()
	text := fmt.Appendf(nil, chaosFile, endpoint, filepath.Join(c.dir, "state"), shared)
	if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// others makes groups that no reap of this host may touch.
func (c *chaos) others() []string {
	expired := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	ours := map[string]string{"managed-by": "eci-executor", "instance": "gitlab.example.com", "runner": "12", "attempt": "00000000", "expires-at": expired}
	without := func(tag string) map[string]string {
		tags := maps.Clone(ours)
		delete(tags, tag)
		return tags
	}
	client, err := newTestClient(c.server.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	another := maps.Clone(ours)
	another["runner"] = "13"
	for name, tags := range map[string]map[string]string{
		"not-of-the-driver": without("managed-by"), "of-an-unknown-runner": without("runner"), "of-no-known-time": without("expires-at"),
		"of-no-attempt": without("attempt"), "of-nobody": nil, "of-another-runner": another,
	} {
		if err := createGroup(c.t.Context(), client, name, tags); err != nil {
			c.t.Fatal(err)
		}
	}
	live := c.server.Live()
	slices.Sort(live)
	return live
}

// jobs runs n of them, as many at a time as the seed says, and restarts all
// runners three times on the way.
func (c *chaos) jobs(n int) {
	random := rand.New(rand.NewPCG(c.seed, 1))
	width := 16 + random.IntN(17)
	c.t.Logf("%d jobs at a time", width)
	var workers sync.WaitGroup
	next := atomic.Int64{}
	for range width {
		workers.Go(func() {
			for id := next.Add(1); id <= int64(n); id = next.Add(1) {
				end := c.job(int(id), rand.New(rand.NewPCG(c.seed, uint64(1000+id))))
				c.mu.Lock()
				c.counts[end]++
				c.mu.Unlock()
				if done := c.done.Add(1); done%int64(n/4) == 0 {
					c.epoch.Add(1)
					c.call(rand.New(rand.NewPCG(c.seed, uint64(done))), nil, "reap") // beside running jobs; the faults may fail it
				}
			}
		})
	}
	workers.Wait()
}

// chaosJob is one job in the hands of its runner.
type chaosJob struct {
	*chaos
	id      int
	random  *rand.Rand
	epoch   int64 // of its runner
	lines   int   // of its script's log
	status  int   // of its script
	shared  bool  // its stages share a connection
	attempt string
}

// job is what a runner does with a job; it returns how that ended.
func (c *chaos) job(id int, random *rand.Rand) string {
	j := &chaosJob{chaos: c, id: id, random: random, epoch: c.epoch.Load(), lines: random.IntN(200), shared: id%2 == 0}
	if random.IntN(4) == 0 {
		j.status = 1 + random.IntN(255)
	}
	end := ""
	for range 3 { // as a runner does with a prepare that fails
		j.attempt = fmt.Sprintf("%08x", random.Uint32())
		prepared := j.stage("prepare")
		if end = j.ended(prepared, false); end == "" {
			group, from := j.group(), time.Now()
			end = j.scripts()
			c.mu.Lock()
			c.served[group] = interval{from, time.Now()}
			c.mu.Unlock()
		}
		if end == "abandoned" { // the runner is gone: nobody calls cleanup
			return end
		}
		j.stage("cleanup")
		if prepared.ok() || end != "system failure" {
			break
		}
	}
	return end
}

// scripts runs the job's scripts, to the first that fails.
func (j *chaosJob) scripts() string {
	script := fmt.Sprintf("i=0\nwhile [ $i -lt %d ]; do echo \"line $i of %d\"; i=$((i+1)); done\necho %d >/cache/%s\nexit %d\n",
		j.lines, j.id, j.status, j.attempt, j.status)
	for _, s := range []struct{ stage, script string }{
		{"get_sources", "echo sources"}, {"step_script", script}, {"cleanup_file_variables", "true"},
	} {
		file := filepath.Join(j.dir, fmt.Sprintf("%d-%s", j.id, s.stage))
		if err := os.WriteFile(file, []byte(s.script), 0o700); err != nil {
			j.t.Error(err)
		}
		called := j.stage("run", file, s.stage)
		if s.stage == "step_script" && (called.ok() || called.exit() == 1) {
			j.isTrue(called)
		}
		if end := j.ended(called, s.stage == "step_script"); end != "" {
			return end
		}
	}
	return "green"
}

func (j *chaosJob) codeFile() string { return filepath.Join(j.dir, fmt.Sprintf("%d-code", j.id)) }

func (j *chaosJob) stage(args ...string) *call {
	response := filepath.Join(j.dir, fmt.Sprintf("job-%d.json", j.id))
	if _, err := os.Stat(response); err != nil {
		j.killWorld.job(j.t, j.id)
	}
	config := "eci-executor.toml"
	if j.shared {
		config = "shared.toml"
		j.harmRelay()
	}
	return j.call(j.random, []string{"ECI_EXECUTOR_CONFIG=" + filepath.Join(j.dir, config), "JOB_RESPONSE_FILE=" + response, "ECI_EXECUTOR_ATTEMPT=" + j.attempt,
		"BUILD_EXIT_CODE_FILE=" + j.codeFile(), "BUILD_FAILURE_EXIT_CODE=1"}, args...)
}

// harmRelay kills or stops the process of some other job that keeps a connection, or
// this one's, with some luck in the middle of a stage.
func (j *chaosJob) harmRelay() {
	pids := relaytest.Running(j.dir)
	if len(pids) == 0 || j.random.IntN(8) > 0 {
		return
	}
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSTOP}
	syscall.Kill(pids[j.random.IntN(len(pids))], signals[j.random.IntN(len(signals))]) //nolint:errcheck // it may just have ended
}

// call is a process of the driver that has ended.
type call struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	signal         syscall.Signal // that it was sent, 0 = none
}

func (c *call) ok() bool { return c.cmd.ProcessState.Success() }

// killed tells whether a signal ended it: SIGKILL, or SIGTERM while it started.
func (c *call) killed() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == c.signal
}

func (c *call) exit() int { return c.cmd.ProcessState.ExitCode() }

// call runs a process of the driver, and kills it at a random time or not.
func (c *chaos) call(random *rand.Rand, env []string, args ...string) *call {
	called := &call{cmd: c.command(c.t, args...)}
	called.cmd.Stdout, called.cmd.Stderr = &called.stdout, &called.stderr
	called.cmd.Env = append(called.cmd.Env, env...)
	if err := called.cmd.Start(); err != nil {
		c.t.Error(err)
		return called
	}
	limit := time.AfterFunc(2*time.Minute, func() {
		c.t.Errorf("%v hangs", called.cmd.Args)
		called.cmd.Process.Kill() //nolint:errcheck // it may just have ended
	})
	defer limit.Stop()
	if random.IntN(8) == 0 {
		called.signal = syscall.SIGKILL
		if random.IntN(2) == 0 {
			called.signal = syscall.SIGTERM
		}
		kill := time.AfterFunc(time.Duration(random.Int64N(int64(400*time.Millisecond))), func() {
			called.cmd.Process.Signal(called.signal) //nolint:errcheck // it may have ended before
		})
		defer kill.Stop()
	}
	called.cmd.Wait() //nolint:errcheck // its state tells
	return called
}
