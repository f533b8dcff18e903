package e2e

import (
	"cmp"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
	"github.com/eci-executor/eci-executor/test/e2e/pipeline"
)

// example reads the pipeline of an example, or of a folder of testdata.
func example(t *testing.T, dir string) []pipeline.Stage {
	t.Helper()
	stages, err := pipeline.Read(filepath.Join(dir, ".gitlab-ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// pipelineRun is one run of a pipeline: its jobs' ids by name.
type pipelineRun map[string]int64

// startPipeline enqueues the jobs of all stages, each stage after the one before. What
// of says goes for every job: project, commit, pipeline id, and variables, which win
// over the file's as a project's do.
func (e *env) startPipeline(stages []pipeline.Stage, of coordinator.Job) pipelineRun {
	e.Helper()
	run := pipelineRun{}
	var before []int64
	for _, stage := range stages {
		before = e.startStage(stage, of, run, before...)
	}
	return run
}

// startStage enqueues the jobs of one stage, to begin when those of before have ended.
func (e *env) startStage(stage pipeline.Stage, of coordinator.Job, run pipelineRun, before ...int64) []int64 {
	var ids []int64
	for _, job := range stage.Jobs {
		job.ProjectPath, job.Ref, job.SHA, job.PipelineID, job.Dependencies = of.ProjectPath, of.Ref, of.SHA, of.PipelineID, before
		job.Variables = slices.Clone(job.Variables) // the stage may be started again
		for _, v := range of.Variables {
			job.Variables = slices.DeleteFunc(job.Variables, func(w coordinator.Variable) bool { return w.Key == v.Key })
		}
		job.Variables = append(job.Variables, of.Variables...)
		run[job.Name] = e.enqueue(job)
		ids = append(ids, run[job.Name])
	}
	return ids
}

// mustPass waits for all jobs of a run and fails the test unless they passed. It gives
// their results by name.
func (e *env) mustPass(run pipelineRun) map[string]coordinator.Result {
	e.Helper()
	names := slices.SortedFunc(maps.Keys(run), func(a, b string) int { return cmp.Compare(run[a], run[b]) }) // in the order of their end
	results := map[string]coordinator.Result{}
	for _, name := range names {
		results[name] = e.mustSucceed(run[name])
	}
	return results
}

// addRepository makes the project path, "group/name", with a branch for each set of
// files, and gives the commits by branch. One of them must be gitserver.Branch.
func (e *env) addRepository(path string, branches map[string]map[string]string) map[string]string {
	e.Helper()
	at := filepath.Join(e.repos, path+".git")
	commits := map[string]string{}
	sha, err := gitserver.CreateRepository(at, branches[gitserver.Branch])
	if err != nil {
		e.Fatal(err)
	}
	commits[gitserver.Branch] = sha
	for branch, files := range branches {
		if branch == gitserver.Branch {
			continue
		}
		other := filepath.Join(e.TempDir(), "other.git")
		if commits[branch], err = gitserver.CreateRepository(other, files); err != nil {
			e.Fatal(err)
		}
		fetch := exec.CommandContext(e.Context(), "git", "--git-dir", at, "fetch", "--quiet", other, gitserver.Branch+":"+branch)
		if out, err := fetch.CombinedOutput(); err != nil {
			e.Fatalf("%v\n%s", err, out)
		}
	}
	return commits
}
