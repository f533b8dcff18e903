package coordinator

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"time"
)

// Job is what a test wants to run. The zero value of each field stands for
// something that runs: see withDefaults.
type Job struct {
	ID          int64 // 0 = the next free one
	Name        string
	Stage       string
	ProjectID   int64
	ProjectPath string // "group/project"
	PipelineID  int64
	RepoURL     string // "" = <coordinator>/<ProjectPath>.git with the job's token
	Ref         string
	SHA         string // "" = no checkout (GIT_STRATEGY=none)
	Protected   bool
	Token       string // "" = made from the id
	Image       Image
	Services    []Image
	Variables   []Variable
	Script      []string
	AfterScript []string
	Steps       []Step // further ones, between script and after_script
	Hooks       []Hook
	Retry       Retry
	Reasons     []string // failure reasons that GitLab knows beside those of every release
	Depth       int      // of the clone, 0 = all
	Timeout     time.Duration
	Cache       []Cache
	Artifacts   []Artifacts
	// Dependencies are ids of jobs whose artifacts this one gets; it is handed
	// out only once they have ended.
	Dependencies []int64
	Credentials  []Credential
}

// Image is an image or a service of the job response.
type Image struct {
	Name       string     `json:"name"`
	Alias      string     `json:"alias,omitempty"`
	Command    []string   `json:"command,omitempty"`
	Entrypoint []string   `json:"entrypoint,omitempty"`
	PullPolicy []string   `json:"pull_policy,omitempty"`
	Variables  []Variable `json:"variables,omitempty"`
}

// Variable is a CI/CD variable.
type Variable struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Public bool   `json:"public"`
	File   bool   `json:"file"`
	Masked bool   `json:"masked"`
	Raw    bool   `json:"raw"`
}

// Cache is one entry of the keyword cache.
type Cache struct {
	Key          string   `json:"key"`
	FallbackKeys []string `json:"fallback_keys,omitempty"`
	Paths        []string `json:"paths"`
	Untracked    bool     `json:"untracked"`
	Policy       string   `json:"policy"` // pull-push, pull, push
	When         string   `json:"when"`   // on_success, on_failure, always
}

// Artifacts is one entry of the keyword artifacts.
type Artifacts struct {
	Name      string   `json:"name,omitempty"`
	Paths     []string `json:"paths"`
	Exclude   []string `json:"exclude,omitempty"`
	Untracked bool     `json:"untracked"`
	When      string   `json:"when,omitempty"`
	Type      string   `json:"artifact_type"`
	Format    string   `json:"artifact_format"`
	ExpireIn  string   `json:"expire_in,omitempty"`
}

// Step is a step of a job beyond script and after_script, such as release.
type Step struct {
	Name   string
	Script []string
}

// Hook is a script of the keyword hooks, pre_get_sources_script alone so far.
type Hook struct {
	Name   string   `json:"name"`
	Script []string `json:"script"`
}

// Retry is the keyword retry, which GitLab keeps to itself.
type Retry struct {
	Max       int      // 2 at most in GitLab
	When      []string // failure reasons
	ExitCodes []int    // without either: always
}

// Credential is a registry login of the job response.
type Credential struct {
	Type     string `json:"type"`
	URL      string `json:"url"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// response is the body of POST jobs/request, in the shape of the runner's
// common/spec.Job; what the runner does not need is left out.
type response struct {
	ID            int64        `json:"id"`
	Token         string       `json:"token"`
	AllowGitFetch bool         `json:"allow_git_fetch"`
	JobInfo       jobInfo      `json:"job_info"`
	GitInfo       gitInfo      `json:"git_info"`
	RunnerInfo    runnerInfo   `json:"runner_info"`
	Variables     []Variable   `json:"variables"`
	Steps         []step       `json:"steps"`
	Hooks         []Hook       `json:"hooks,omitempty"`
	Image         Image        `json:"image"`
	Services      []Image      `json:"services"`
	Artifacts     []Artifacts  `json:"artifacts"`
	Cache         []Cache      `json:"cache"`
	Credentials   []Credential `json:"credentials"`
	Dependencies  []dependency `json:"dependencies"`
	Features      features     `json:"features"`
}

type jobInfo struct {
	Name            string `json:"name"`
	Stage           string `json:"stage"`
	PipelineID      int64  `json:"pipeline_id"`
	ProjectID       int64  `json:"project_id"`
	ProjectName     string `json:"project_name"`
	ProjectFullPath string `json:"project_full_path"`
}

type gitInfo struct {
	RepoURL          string   `json:"repo_url"`
	RepoObjectFormat string   `json:"repo_object_format"`
	Ref              string   `json:"ref"`
	SHA              string   `json:"sha"`
	BeforeSHA        string   `json:"before_sha"`
	RefType          string   `json:"ref_type"`
	Refspecs         []string `json:"refspecs"`
	Depth            int      `json:"depth"`
	Protected        bool     `json:"protected"`
}

type runnerInfo struct {
	Timeout int64 `json:"timeout"` // seconds
}

type step struct {
	Name         string   `json:"name"`
	Script       []string `json:"script"`
	Timeout      int64    `json:"timeout"`
	When         string   `json:"when"`
	AllowFailure bool     `json:"allow_failure"`
}

type dependency struct {
	ID            int64         `json:"id"`
	Token         string        `json:"token"`
	Name          string        `json:"name"`
	ArtifactsFile artifactsFile `json:"artifacts_file"`
}

type artifactsFile struct {
	Filename string `json:"filename"`
	Size     int    `json:"size"`
}

type features struct {
	TraceSections     bool     `json:"trace_sections"`
	FailureReasons    []string `json:"failure_reasons"`
	TokenMaskPrefixes []string `json:"token_mask_prefixes"`
}

// withDefaults fills in what a test left out. The id must be set.
func (j Job) withDefaults() Job {
	setDefault(&j.Name, "job")
	setDefault(&j.Stage, "test")
	setDefault(&j.ProjectID, 1)
	setDefault(&j.ProjectPath, "demo/app")
	setDefault(&j.PipelineID, 100)
	setDefault(&j.Ref, "main")
	setDefault(&j.Timeout, time.Hour)
	setDefault(&j.Token, fmt.Sprintf("job-token-%d", j.ID))
	if j.Script == nil {
		j.Script = []string{"true"}
	}
	return j
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// response is the job as GitLab would send it to a runner that reached the
// coordinator at base ("http://127.0.0.1:8929").
func (j Job) response(base *url.URL, deps []dependency) response {
	repo := j.RepoURL
	if repo == "" {
		withToken := *base
		withToken.User = url.UserPassword("gitlab-ci-token", j.Token)
		withToken.Path = "/" + j.ProjectPath + ".git"
		repo = withToken.String()
	}
	sha := j.SHA
	if sha == "" {
		sha = "0000000000000000000000000000000000000000"
	}
	return response{
		ID: j.ID, Token: j.Token, AllowGitFetch: true,
		JobInfo: jobInfo{
			Name: j.Name, Stage: j.Stage, PipelineID: j.PipelineID, ProjectID: j.ProjectID,
			ProjectName: path.Base(j.ProjectPath), ProjectFullPath: j.ProjectPath,
		},
		GitInfo: gitInfo{
			RepoURL: repo, RepoObjectFormat: "sha1", Ref: j.Ref, SHA: sha,
			BeforeSHA: "0000000000000000000000000000000000000000", RefType: "branch",
			Refspecs:  []string{"+refs/heads/" + j.Ref + ":refs/remotes/origin/" + j.Ref},
			Depth:     j.Depth,
			Protected: j.Protected,
		},
		RunnerInfo:   runnerInfo{Timeout: int64(j.Timeout / time.Second)},
		Variables:    j.variables(base, repo, sha),
		Steps:        j.steps(),
		Hooks:        j.Hooks,
		Image:        j.Image,
		Services:     j.Services,
		Artifacts:    j.artifacts(),
		Cache:        j.Cache,
		Credentials:  j.Credentials,
		Dependencies: deps,
		Features: features{
			TraceSections:     true,
			FailureReasons:    append([]string{"unknown_failure", "script_failure", "runner_system_failure", "job_execution_timeout", "job_canceled"}, j.Reasons...),
			TokenMaskPrefixes: []string{"glpat-"},
		},
	}
}

// variables are those of GitLab's predefined ones that runner, driver or tests
// look at, then the job's own.
func (j Job) variables(base *url.URL, repo, sha string) []Variable {
	public := func(key, value string) Variable {
		return Variable{Key: key, Value: value, Public: true}
	}
	id, pipeline := strconv.FormatInt(j.ID, 10), strconv.FormatInt(j.PipelineID, 10)
	vars := []Variable{
		public("CI", "true"),
		public("GITLAB_CI", "true"),
		public("CI_SERVER_URL", base.String()),
		public("CI_SERVER_HOST", base.Hostname()),
		public("CI_SERVER_PORT", base.Port()),
		public("CI_SERVER_PROTOCOL", base.Scheme),
		public("CI_API_V4_URL", base.String()+apiPrefix),
		public("CI_PIPELINE_ID", pipeline),
		public("CI_JOB_ID", id),
		public("CI_JOB_NAME", j.Name),
		public("CI_JOB_STAGE", j.Stage),
		public("CI_JOB_IMAGE", j.Image.Name),
		{Key: "CI_JOB_TOKEN", Value: j.Token, Masked: true},
		{Key: "CI_REPOSITORY_URL", Value: repo},
		public("CI_PROJECT_ID", strconv.FormatInt(j.ProjectID, 10)),
		public("CI_PROJECT_NAME", path.Base(j.ProjectPath)),
		public("CI_PROJECT_NAMESPACE", path.Dir(j.ProjectPath)),
		public("CI_PROJECT_PATH", j.ProjectPath),
		public("CI_COMMIT_SHA", sha),
		public("CI_COMMIT_SHORT_SHA", sha[:8]),
		public("CI_COMMIT_REF_NAME", j.Ref),
		public("CI_COMMIT_REF_PROTECTED", strconv.FormatBool(j.Protected)),
	}
	if j.SHA == "" {
		vars = append(vars, public("GIT_STRATEGY", "none"))
	}
	return append(vars, j.Variables...)
}

func (j Job) steps() []step {
	seconds := int64(j.Timeout / time.Second)
	steps := []step{{Name: "script", Script: j.Script, Timeout: seconds, When: "on_success"}}
	for _, s := range j.Steps {
		steps = append(steps, step{Name: s.Name, Script: s.Script, Timeout: seconds, When: "on_success"})
	}
	if len(j.AfterScript) > 0 {
		steps = append(steps, step{Name: "after_script", Script: j.AfterScript, Timeout: seconds, When: "always", AllowFailure: true})
	}
	return steps
}

func (j Job) artifacts() []Artifacts {
	var all []Artifacts
	for _, a := range j.Artifacts {
		setDefault(&a.Type, "archive")
		setDefault(&a.Format, "zip")
		all = append(all, a)
	}
	return all
}
