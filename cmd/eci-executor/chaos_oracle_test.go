package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/eci-executor/eci-executor/internal/relay/relaytest"
)

// isTrue holds the result that a stage reported against what the script did.
func (j *chaosJob) isTrue(called *call) {
	evidence, err := os.ReadFile(filepath.Join(j.server.NASDir("nas-1.ap-northeast-1.nas.aliyuncs.com", "/cache"), j.attempt))
	if err != nil || strings.TrimSpace(string(evidence)) != strconv.Itoa(j.status) {
		j.t.Errorf("job %d: its script has not come to its end (%v, %q), but the stage reports %d", j.id, err, evidence, called.exit())
	}
	code, _ := os.ReadFile(j.codeFile())
	if reported := strings.TrimSpace(string(code)); called.ok() && (j.status != 0 || reported != "") || !called.ok() && reported != strconv.Itoa(j.status) {
		j.t.Errorf("job %d: its script ended with %d, reported is %q, exit %d", j.id, j.status, reported, called.exit())
	}
	var log strings.Builder
	for i := range j.lines {
		fmt.Fprintf(&log, "line %d of %d\n", i, j.id)
	}
	if called.stdout.String() != log.String() {
		j.t.Errorf("job %d: %d bytes of log, want %d", j.id, called.stdout.Len(), log.Len())
	}
}

// group is the job's, by the record that prepare has left.
func (j *chaosJob) group() (id string) {
	paths, err := filepath.Glob(filepath.Join(j.dir, "state", "*-a"+j.attempt+".attempt.json"))
	if err != nil || len(paths) != 1 {
		j.t.Errorf("job %d: prepare has left the records %v, %v", j.id, paths, err)
		return ""
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		j.t.Error(err)
	}
	var record struct {
		ID string `json:"group_id"`
	}
	if err := json.Unmarshal(data, &record); err != nil || record.ID == "" {
		j.t.Errorf("job %d: the record of its group is %q: %v", j.id, data, err)
	}
	return record.ID
}

// spared wants that no stage and no reap asked for the end of a group while its job
// needed it: a job that ends so is a system failure, which faults excuse.
func (c *chaos) spared() {
	if len(c.served) < 10 {
		c.t.Errorf("%d groups served a job: the test shows nothing", len(c.served))
	}
	for _, call := range c.server.Calls() {
		id := call.Params.Get("ContainerGroupId")
		if in := c.served[id]; call.Action == "DeleteContainerGroup" && call.Time.After(in.from) && call.Time.Before(in.to) {
			c.t.Errorf("the group %s was to be deleted at %s, while its job ran, from %s to %s", id, call.Time, in.from, in.to)
		}
	}
}

// ended is how a stage ends its job, "" where the job goes on. No fault is the job's
// own, so only its script can fail it.
func (j *chaosJob) ended(called *call, script bool) string {
	if called.exit() == 1 && !script {
		j.t.Errorf("job %d: %v blames the job: %s%s", j.id, called.cmd.Args, called.stdout.String(), called.stderr.String())
	}
	switch {
	case j.chaos.epoch.Load() != j.epoch:
		return "abandoned"
	case called.ok():
		return ""
	case called.exit() == 1:
		return "failed by its script"
	}
	if !called.killed() && !strings.Contains(called.stderr.String(), "ERROR: eci-executor: ") {
		j.t.Errorf("job %d: %v exits with %d and does not say why: %q", j.id, called.cmd.Args, called.exit(), called.stderr.String())
	}
	return "system failure"
}

// reap wants that nothing of ours is left, when the time of the groups is over
// whose runner was killed, and all that is others'.
func (c *chaos) reap(others []string) {
	t := c.t
	if out, err := c.run(t, "reap"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	c.setBack(2 * time.Hour)
	c.configure(t, "later.toml", later(t, c.server.URL(), 3*time.Hour), false)
	out, err := c.run(t, "--config", filepath.Join(c.dir, "later.toml"), "reap")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	var live []string
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		live = c.server.Live()
		slices.Sort(live)
		if len(live) <= len(others) {
			break
		}
	}
	if !slices.Equal(live, others) {
		t.Errorf("container groups left: %v, want those of others, %v\n%s", live, others, out)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, "state", "*.attempt.json")); len(left) > 0 {
		t.Errorf("intents left: %v\n%s", left, out)
	}
	c.removeAll(t)
	c.noGroups(t)
	c.relaysEnd()
	if left := processesWith(c.dir); len(left) > 0 {
		t.Errorf("processes left that have a mount in %s: %v", c.dir, left)
	}
}

// relaysEnd wants that those of jobs that nobody cleaned up end with their sockets: they
// would with the groups, five minutes later.
func (c *chaos) relaysEnd() {
	left := relaytest.Running(c.dir)
	c.t.Logf("%d relays are left", len(left))
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it may just have ended
	}
	if err := os.RemoveAll(filepath.Join(c.dir, "state", "relay")); err != nil {
		c.t.Error(err)
	}
	for until := time.Now().Add(time.Minute); len(left) > 0 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		left = relaytest.Running(c.dir)
	}
	if len(left) > 0 {
		c.t.Errorf("relays %v go on without their sockets", left)
	}
}

// setBack makes the cleanups that are not finished older.
func (c *chaos) setBack(by time.Duration) {
	paths, _ := filepath.Glob(filepath.Join(c.dir, "state", "*.attempt.json"))
	for _, path := range paths {
		editJSON(c.t, path, func(record map[string]any) {
			if over, ok := record["over"].(string); ok {
				at, err := time.Parse(time.RFC3339Nano, over)
				if err != nil {
					c.t.Error(err)
				}
				record["over"] = at.Add(-by)
			}
		})
	}
}
