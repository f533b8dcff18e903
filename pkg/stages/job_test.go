package stages_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/stages"
)

func readJob(t *testing.T, response string, env stages.Env) (*stages.Job, error) {
	t.Helper()
	env.JobResponseFile = filepath.Join(t.TempDir(), "response.json")
	if err := os.WriteFile(env.JobResponseFile, []byte(response), 0o600); err != nil {
		t.Fatal(err)
	}
	return stages.ReadJob(env)
}

// What names, tags, images and paths are made of must not be the job's to set.
func TestJobVariablesCannotSpoof(t *testing.T) {
	job, err := readJob(t, `{"id": 5, "unknown": {"new": [1]}, "run": [{"a": 1}],
		"job_info": {"project_id": 7, "project_full_path": "group/app", "pipeline_id": 99},
		"git_info": {"repo_url": "https://gitlab.example.com/group/app.git", "protected": false},
		"image": {"name": "real:1", "pull_policy": ["always"], "executor_opts": {"kubernetes": {"user": "$CI_UID:100"}}},
		"services": [{"name": "", "alias": "optional"}, {"name": "redis:7", "alias": "cache, db", "executor_opts": {"docker": {"user": "redis"}}}],
		"credentials": [{"type": "registry", "url": "r.example.com", "username": "u", "password": "p"}, {"type": "other"}],
		"variables": [
			{"key": "CI_SERVER_HOST", "value": "gitlab.example.com", "public": true},
			{"key": "CI_RUNNER_ID", "value": "12", "public": true},
			{"key": "CI_COMMIT_REF_PROTECTED", "value": "false", "public": true},
			{"key": "CI_SERVER_HOST", "value": "evil.example.com", "public": true},
			{"key": "CI_RUNNER_ID", "value": "666"},
			{"key": "CI_COMMIT_REF_PROTECTED", "value": "true"},
			{"key": "CI_PROJECT_PATH", "value": "other/secret"},
			{"key": "CI_UID", "value": "1000"},
			{"key": "OWN", "value": "file"}]}`,
		stages.Env{Attempt: "0123abcd", Custom: map[string]string{
			"CI_JOB_IMAGE": "spoofed:1", "CI_JOB_SERVICES": `[{"name":"spoofed"}]`, "CI_PROJECT_PATH": "other/secret",
			"CI_JOB_ID": "6", "CI_PIPELINE_ID": "1", "OWN": "expanded", "CI_RUNNER_VERSION": "19.4.0"}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, got, want string }{
		{"image", job.Image.Name, "real:1"},
		{"user", job.Image.User, "1000:100"},
		{"service", job.Services[0].Name, "redis:7"},
		{"user of the service", job.Services[0].User, "redis"},
		{"instance", job.Instance, "gitlab.example.com"},
		{"runner", job.RunnerID, "12"},
		{"project path", job.ProjectPath, "group/app"},
		{"pipeline", job.PipelineID, "99"},
		{"runner version", job.RunnerVersion, "19.4.0"},
		{"a variable as the runner expanded it", job.Variable("OWN"), "expanded"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s is %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if job.ID != 5 || job.ProjectID != 7 || job.RefProtected {
		t.Errorf("id %d, project %d, protected %v", job.ID, job.ProjectID, job.RefProtected)
	}
	if !slices.Equal(job.Services[0].Aliases, []string{"cache", "db"}) || len(job.Credentials) != 1 ||
		len(job.Services) != 1 || job.Image.DockerUser || !job.Services[0].DockerUser {
		t.Errorf("services %+v, aliases %q, credentials %d", job.Services, job.Services[0].Aliases, len(job.Credentials))
	}
}

// What GitLab itself sends where the runner would write something else, and what neither
// writes today, is no reason to fail a job.
func TestReadJobLeniently(t *testing.T) {
	tests := []struct {
		name, image string
		user        string
		docker      bool
	}{
		{"a user that is a number", `{"name": "a:1", "executor_opts": {"kubernetes": {"user": 1000}}}`, "1000", false},
		{"root", `{"name": "a:1", "executor_opts": {"docker": {"user": 0, "platform": null}}}`, "0", true},
		{"no user", `{"name": "a:1", "executor_opts": {"docker": {"user": null}, "kubernetes": null}}`, "", false},
		{"nothing but a name", `{"name": "a:1", "alias": null, "command": null, "entrypoint": null, "ports": null, "pull_policy": null, "variables": null, "executor_opts": null}`, "", false},
		{"what is new", `{"name": "a:1", "executor_opts": {"docker": {"user": "7", "new": {}}, "podman": [1]}, "new": 1}`, "7", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			job, err := readJob(t, `{"id": 5, "image": `+tt.image+`, "services": null, "variables": null, "credentials": null, "git_info": null}`, stages.Env{})
			if err != nil {
				t.Fatal(err)
			}
			if job.Image.Name != "a:1" || job.Image.User != tt.user || job.Image.DockerUser != tt.docker {
				t.Errorf("got %+v", job.Image)
			}
		})
	}
}

func TestReadJobRefuses(t *testing.T) {
	tests := []struct{ name, response, want string }{
		{"truncated", `{"id": 5, "job_`, "is damaged (15 bytes)"},
		{"empty", "", "is damaged (0 bytes)"},
		{"no id", `{"job_info": {}}`, "has no job id"},
		{"another document", `[1]`, "is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readJob(t, tt.response, stages.Env{})
			wantError(t, err, tt.want)
		})
	}
	_, err := stages.ReadJob(stages.Env{})
	wantError(t, err, "JOB_RESPONSE_FILE is not set")
}

// Whatever stands in the environment, a failure is never reported as success.
func TestFailureStatusesOfTheEnvironment(t *testing.T) {
	tests := []struct {
		value         string
		build, system int
	}{
		{"41", 41, 41}, {"255", 255, 255},
		{"0", 1, 2}, {"256", 1, 2}, {"-1", 1, 2}, {"", 1, 2}, {"2 ", 1, 2}, {"99999999999999999999", 1, 2},
	}
	for _, tt := range tests {
		env := stages.ReadEnv([]string{"BUILD_FAILURE_EXIT_CODE=" + tt.value, "SYSTEM_FAILURE_EXIT_CODE=" + tt.value})
		if env.BuildFailure != tt.build || env.SystemFailure != tt.system {
			t.Errorf("%q gives %d and %d, want %d and %d", tt.value, env.BuildFailure, env.SystemFailure, tt.build, tt.system)
		}
	}
}

func TestExitStatus(t *testing.T) {
	code := filepath.Join(t.TempDir(), "code")
	env := stages.Env{BuildFailure: 41, SystemFailure: 42, BuildExitCodeFile: code}
	tests := []struct {
		name   string
		err    error
		status int
		file   string
	}{
		{"success", nil, 0, ""},
		{"a script's own status", &stages.BuildError{Status: 3}, 41, "3\n"},
		{"a mistake in the job", &stages.BuildError{Message: "image not allowed"}, 41, ""},
		{"anything else", os.ErrClosed, 42, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := env.ClearExitCode(); err != nil {
				t.Fatal(err)
			}
			status, err := env.ExitStatus(tt.err)
			if err != nil || status != tt.status {
				t.Errorf("status %d, %v, want %d", status, err, tt.status)
			}
			if text, _ := os.ReadFile(code); string(text) != tt.file {
				t.Errorf("the file holds %q, want %q", text, tt.file)
			}
		})
	}
	env.BuildExitCodeFile = t.TempDir() // can't be written as a file
	if status, err := env.ExitStatus(&stages.BuildError{Status: 3}); status != 42 || err == nil {
		t.Errorf("an exit status that can't be told: %d, %v, want 42 and an error", status, err)
	}
}
