// Package coordinator is a stand-in for the part of GitLab that a runner talks
// to: it hands out jobs, takes their traces and results, and keeps artifacts.
// The end-to-end tests put a real gitlab-runner in front of it.
//
// It is stricter than GitLab where that finds mistakes (trace ranges, the
// trace's checksum, tokens) and has nothing beside it: no database, no users,
// no pipelines; git is served by internal/gitserver.
package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Coordinator is an http.Handler for "/api/v4/"; it is safe for use by many
// runners and tests at once.
type Coordinator struct {
	mu     sync.Mutex
	nextID int64
	queue  []int64 // ids not handed out yet, oldest first
	jobs   map[int64]*job
}

// job is the state of one job; Coordinator.mu guards it.
type job struct {
	spec      Job
	trace     []byte
	rules     []rule // those that have not struck
	status    string // Job-Status that the runner is told
	artifacts []Artifact
	problems  []error // breaches of the protocol by the runner
	reports   []Result
	result    Result
	done      chan struct{} // closed at the final state
	retriedAs int64         // the id of the job that takes its place, 0 = none
}

// rule is what happens, once, when the trace holds marker.
type rule struct {
	marker string
	strike func(j *job)
}

// Result is how a job ended.
type Result struct {
	State         string // success or failed
	FailureReason string // "" on success; script_failure, runner_system_failure, job_canceled, ...
	ExitCode      int    // as reported, 0 when none was
	HasExitCode   bool
	Trace         []byte
}

// Artifact is one upload.
type Artifact struct {
	Type, Format, Filename string
	ExpireIn               string
	Content                []byte
}

// Job-Status values that end a job from the server's side.
const (
	statusRunning   = "running"
	statusCanceling = "canceling" // graceful: after_script still runs
	statusCanceled  = "canceled"  // abort: nothing runs but cleanup
)

// New returns a coordinator without jobs.
func New() *Coordinator {
	return &Coordinator{nextID: 1000, jobs: map[int64]*job{}}
}

// Enqueue adds a job to be handed out to the next runner that asks, and returns
// its id. It panics on an id in use or an unknown dependency, which are mistakes
// of the test.
func (c *Coordinator) Enqueue(spec Job) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueue(spec)
}

// enqueue is Enqueue with c.mu held.
func (c *Coordinator) enqueue(spec Job) int64 {
	if spec.ID == 0 {
		c.nextID++
		spec.ID = c.nextID
	}
	if c.jobs[spec.ID] != nil {
		panic(fmt.Sprintf("coordinator: job id %d is in use", spec.ID))
	}
	for _, id := range spec.Dependencies {
		if c.jobs[id] == nil {
			panic(fmt.Sprintf("coordinator: job %d depends on the unknown job %d", spec.ID, id))
		}
	}
	c.jobs[spec.ID] = &job{spec: spec.withDefaults(), status: statusRunning, done: make(chan struct{})}
	c.queue = append(c.queue, spec.ID)
	return spec.ID
}

// CancelWhen asks for a graceful cancel of the job as soon as its trace holds
// marker: the runner stops the script and still runs after_script.
func (c *Coordinator) CancelWhen(id int64, marker string) {
	c.setStatusWhen(id, marker, statusCanceling)
}

// AbortWhen is CancelWhen without the grace: nothing runs afterwards but the
// executor's cleanup, and the runner reports no more.
func (c *Coordinator) AbortWhen(id int64, marker string) {
	c.setStatusWhen(id, marker, statusCanceled)
}

func (c *Coordinator) setStatusWhen(id int64, marker, status string) {
	c.addRule(id, rule{marker, func(j *job) {
		if j.status != statusCanceled {
			j.status = status
		}
	}})
}

// Reached is closed once the job's trace holds marker.
func (c *Coordinator) Reached(id int64, marker string) <-chan struct{} {
	reached := make(chan struct{})
	c.addRule(id, rule{marker, func(*job) { close(reached) }})
	return reached
}

func (c *Coordinator) addRule(id int64, r rule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.mustJob(id)
	j.rules = append(j.rules, r)
	j.applyRules()
}

// Wait returns when the job has ended or ctx is done. The result holds the
// trace so far in either case. An error also tells where the runner broke the
// protocol (a trace that does not fit its checksum, ...).
//
// A job that was aborted has no final report; it ends here when the runner was
// told, with State "canceled".
func (c *Coordinator) Wait(ctx context.Context, id int64) (Result, error) {
	c.mu.Lock()
	j := c.mustJob(id)
	c.mu.Unlock()

	var err error
	select {
	case <-j.done:
	case <-ctx.Done():
		err = fmt.Errorf("job %d has not ended: %w", id, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	result := j.result
	result.Trace = bytes.Clone(j.trace)
	return result, errors.Join(append([]error{err}, j.problems...)...)
}

// Trace is the job's trace so far.
func (c *Coordinator) Trace(id int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.mustJob(id).trace)
}

// Artifacts are the uploads of a job in the order they came.
func (c *Coordinator) Artifacts(id int64) []Artifact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Artifact(nil), c.mustJob(id).artifacts...)
}

// AddArtifact stands for an upload of a job.
func (c *Coordinator) AddArtifact(id int64, a Artifact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.mustJob(id)
	j.artifacts = append(j.artifacts, a)
}

// RetriedAs is the id of the job that Retry has made of one that failed, 0 where it
// has made none.
func (c *Coordinator) RetriedAs(id int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mustJob(id).retriedAs
}

// Reports are the final states that the runner reported for a job, without traces.
// For one that was aborted they are what GitLab does not care for any more.
func (c *Coordinator) Reports(id int64) []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mustJob(id).reports)
}

// mustJob panics on an unknown id, a mistake of the test. c.mu must be held.
func (c *Coordinator) mustJob(id int64) *job {
	j := c.jobs[id]
	if j == nil {
		panic(fmt.Sprintf("coordinator: no job %d", id))
	}
	return j
}

// take picks the oldest job whose dependencies have ended, or nil. c.mu must be
// held.
func (c *Coordinator) take() *job {
	for i, id := range c.queue {
		j := c.jobs[id]
		if c.ready(j) {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			return j
		}
	}
	return nil
}

func (c *Coordinator) ready(j *job) bool {
	for _, id := range j.spec.Dependencies {
		select {
		case <-c.jobs[id].done:
		default:
			return false
		}
	}
	return true
}

// dependencies are those of j that left an archive. c.mu must be held.
func (c *Coordinator) dependencies(j *job) []dependency {
	var deps []dependency
	for _, id := range j.spec.Dependencies {
		other := c.jobs[id]
		archive, ok := other.archive()
		if !ok {
			continue
		}
		deps = append(deps, dependency{
			ID: id, Token: other.spec.Token, Name: other.spec.Name,
			ArtifactsFile: artifactsFile{Filename: archive.Filename, Size: len(archive.Content)},
		})
	}
	return deps
}

func (j *job) archive() (Artifact, bool) {
	for _, a := range j.artifacts {
		if a.Type == "" || a.Type == "archive" {
			return a, true
		}
	}
	return Artifact{}, false
}

func (j *job) applyRules() {
	j.rules = slices.DeleteFunc(j.rules, func(r rule) bool {
		due := bytes.Contains(j.trace, []byte(r.marker))
		if due {
			r.strike(j)
		}
		return due
	})
}

// finish records the end of a job once.
func (j *job) finish(result Result) {
	select {
	case <-j.done:
		return
	default:
	}
	j.result = result
	close(j.done)
}

// retry puts another job with an id of its own into the queue, as GitLab does, where
// the keyword retry of a job that has failed asks for it. c.mu must be held.
func (c *Coordinator) retry(j *job, result Result) {
	retry := j.spec.Retry
	asked := len(retry.When)+len(retry.ExitCodes) == 0 || slices.Contains(retry.When, result.FailureReason) ||
		result.HasExitCode && slices.Contains(retry.ExitCodes, result.ExitCode)
	if result.State != "failed" || retry.Max == 0 || j.retriedAs != 0 || !asked {
		return
	}
	again := j.spec
	again.ID, again.Token = 0, ""
	again.Retry.Max--
	j.retriedAs = c.enqueue(again)
}

func (j *job) problem(format string, args ...any) {
	j.problems = append(j.problems, fmt.Errorf("job %d: "+format, append([]any{j.spec.ID}, args...)...))
}
