package stages

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Job is what the stages know of a job, read once from JOB_RESPONSE_FILE and the
// environment. Image, services, credentials and ids come from the file alone,
// because a job can set most CUSTOM_ENV_* variables itself.
type Job struct {
	ID              int64
	Name            string
	Stage           string
	PipelineID      string
	ProjectID       int64
	ProjectPath     string // group/project
	RefProtected    bool
	Timeout         time.Duration
	Image           Image
	Services        []Image
	Credentials     []Credential // of type registry
	Instance        string       // host of the GitLab instance
	RunnerID        string
	RunnerVersion   string
	Attempt         string
	ByHand          bool       // no runner drew Attempt: each prepare has the same
	PublicVariables []Variable // those that services may see
	Slot            string     // {concurrent_id}: leased by prepare, "" where nothing needs it

	variables map[string]string
}

// Image is the image of build or of a service.
type Image struct {
	Name       string
	Aliases    []string
	Entrypoint []string
	Command    []string
	PullPolicy []string
	Variables  []Variable
	Ports      []int
	User       string
	DockerUser bool // User is docker:user, which the Kubernetes executor does not know
	Operator   bool // named in the driver's file, not by the job's author
}

// Variable is one variable of a job or service, unexpanded in a job response.
type Variable struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Public bool   `json:"public"`
	File   bool   `json:"file"`
	Masked bool   `json:"masked"`
	Raw    bool   `json:"raw"` // not to be expanded

	hidden string // that it refers to and services must not see: publicVariables
}

// Credential is a registry login that GitLab gave the job.
type Credential struct{ Server, Username, Password string }

// LogFields are what tells a job's lines in the operator's log from those of others.
func (j *Job) LogFields() logrus.Fields {
	return logrus.Fields{"job": j.ID, "project": j.ProjectID, "project_path": j.ProjectPath, "pipeline": j.PipelineID,
		"runner": j.RunnerID, "attempt": j.Attempt}
}

// response is JOB_RESPONSE_FILE, decoded leniently: GitLab adds fields, and the
// runner's own type does not decode what it writes (sources.md: runner; common/spec).
type response struct {
	ID      int64 `json:"id"`
	JobInfo struct {
		Name            string `json:"name"`
		Stage           string `json:"stage"`
		ProjectID       int64  `json:"project_id"`
		ProjectName     string `json:"project_name"`
		ProjectFullPath string `json:"project_full_path"`
		PipelineID      int64  `json:"pipeline_id"`
	} `json:"job_info"`
	GitInfo struct {
		RepoURL   string `json:"repo_url"`
		Protected *bool  `json:"protected"`
	} `json:"git_info"`
	RunnerInfo struct {
		Timeout int64 `json:"timeout"`
	} `json:"runner_info"`
	Variables   []Variable      `json:"variables"`
	Image       responseImage   `json:"image"`
	Services    []responseImage `json:"services"`
	Credentials []struct {
		Type     string `json:"type"`
		URL      string `json:"url"`
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"credentials"`
}

type responseImage struct {
	Name       string     `json:"name"`
	Alias      string     `json:"alias"`
	Command    []string   `json:"command"`
	Entrypoint []string   `json:"entrypoint"`
	PullPolicy []string   `json:"pull_policy"`
	Variables  []Variable `json:"variables"`
	Ports      []struct {
		Number int `json:"number"`
	} `json:"ports"`
	ExecutorOpts struct {
		Docker     struct{ User userName }
		Kubernetes struct{ User userName }
	} `json:"executor_opts"`
}

// userName is one that GitLab sends as a number where the author wrote one; the runner
// writes text (spec.go, StringOrInt64).
type userName string

// UnmarshalJSON takes either.
func (u *userName) UnmarshalJSON(data []byte) error {
	var number int64
	if json.Unmarshal(data, &number) == nil && string(data) != "null" {
		*u = userName(strconv.FormatInt(number, 10))
		return nil
	}
	return json.Unmarshal(data, (*string)(u))
}

// defaultTimeout is the runner's for a job that names none (consts.go).
const defaultTimeout = 2 * time.Hour

// ReadJob reads the job of env. By hand, where no runner drew an attempt id, it
// is derived from the job, so that prepare, run and cleanup find the same group.
func ReadJob(env Env) (*Job, error) {
	if env.JobResponseFile == "" {
		return nil, errors.New("no job: JOB_RESPONSE_FILE is not set; a stage by hand takes a saved job response with --job FILE")
	}
	data, err := os.ReadFile(env.JobResponseFile)
	if err != nil {
		return nil, fmt.Errorf("reading the job response (JOB_RESPONSE_FILE or --job): %w", err)
	}
	var r response
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("the job response %s is damaged (%d bytes): %w", env.JobResponseFile, len(data), err)
	}
	if r.ID <= 0 {
		return nil, fmt.Errorf("the job response %s has no job id", env.JobResponseFile)
	}
	return newJob(r, env), nil
}

func newJob(r response, env Env) *Job {
	job := &Job{
		ID: r.ID, Name: r.JobInfo.Name, Stage: r.JobInfo.Stage, ProjectID: r.JobInfo.ProjectID,
		Timeout:       time.Duration(r.RunnerInfo.Timeout) * time.Second,
		RunnerVersion: env.Custom["CI_RUNNER_VERSION"], // set last by the runner, over any job variable
		Attempt:       env.Attempt,
		Image:         newImage(r.Image),
		variables:     map[string]string{},
	}
	if job.Timeout <= 0 {
		job.Timeout = defaultTimeout
	}
	for _, s := range r.Services {
		job.Services = append(job.Services, newImage(s))
	}
	for _, c := range r.Credentials {
		if c.Type == "registry" {
			job.Credentials = append(job.Credentials, Credential{c.URL, c.Username, c.Password})
		}
	}
	first := map[string]string{} // GitLab's own variables come before the job's
	for _, v := range r.Variables {
		if _, known := first[v.Key]; !known {
			first[v.Key] = v.Value
		}
		job.variables[v.Key] = v.Value
	}
	job.PublicVariables = publicVariables(append(runnersOwn(env), r.Variables...))
	maps.Copy(job.variables, env.Custom)
	job.expandServices(env.Custom["CI_JOB_SERVICES"]) // set last by the runner, over any job variable
	job.expandUsers()
	// An author makes a service optional by a variable as its name, which may be empty.
	job.Services = slices.DeleteFunc(job.Services, func(s Image) bool { return s.Name == "" })
	job.identify(r, first)
	return job
}

// expandUsers expands the variables in the users of images, which the runner leaves to its
// executors (spec.go, Expand).
func (j *Job) expandUsers() {
	expand := func(image *Image) {
		image.User = Variable{Value: image.User}.expanded(j.Variable)
	}
	expand(&j.Image)
	for i := range j.Services {
		expand(&j.Services[i])
	}
}

// identify fills in what names, tags and NAS paths are made of, from fields that
// a job's author does not control.
func (j *Job) identify(r response, first map[string]string) {
	repo, _ := url.Parse(r.GitInfo.RepoURL)
	if repo == nil {
		repo = &url.URL{}
	}
	j.Instance = cmp.Or(first["CI_SERVER_HOST"], repo.Hostname(), "unknown")
	j.RunnerID = cmp.Or(first["CI_RUNNER_ID"], "0")
	j.PipelineID = first["CI_PIPELINE_ID"]
	if r.JobInfo.PipelineID > 0 {
		j.PipelineID = fmt.Sprint(r.JobInfo.PipelineID)
	}
	j.ProjectPath = cmp.Or(r.JobInfo.ProjectFullPath,
		strings.TrimSuffix(strings.Trim(repo.Path, "/"), ".git"), r.JobInfo.ProjectName)
	j.RefProtected = first["CI_COMMIT_REF_PROTECTED"] == "true"
	if r.GitInfo.Protected != nil {
		j.RefProtected = *r.GitInfo.Protected
	}
	if j.Attempt == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "by hand %s %d", j.Instance, j.ID))
		j.Attempt, j.ByHand = hex.EncodeToString(sum[:4]), true
	}
}

func newImage(r responseImage) Image {
	image := Image{
		Name: r.Name, Entrypoint: r.Entrypoint, Command: r.Command, PullPolicy: r.PullPolicy,
		Variables: r.Variables, User: string(r.ExecutorOpts.Kubernetes.User),
		Aliases: aliasesOf(r.Alias),
	}
	if image.User == "" {
		image.User, image.DockerUser = string(r.ExecutorOpts.Docker.User), r.ExecutorOpts.Docker.User != ""
	}
	for _, p := range r.Ports {
		image.Ports = append(image.Ports, p.Number)
	}
	return image
}

// aliasesOf splits the aliases of a service, which GitLab sends as one text (spec.go of the
// runner).
func aliasesOf(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// Variable is the value of a job variable, as the runner expanded it where it did.
func (j *Job) Variable(key string) string { return j.variables[key] }

// on tells whether a variable, such as a feature flag of the runner, is set to true.
func (j *Job) on(flag string) bool {
	on, _ := strconv.ParseBool(j.variables[flag])
	return on
}
