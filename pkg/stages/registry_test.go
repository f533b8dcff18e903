package stages

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
)

// TestPullCredentials: which login goes to ECI for which images.
func TestPullCredentials(t *testing.T) {
	const operators = `
[[registry]]
server = "registry.example.com"
username = "operator"
password = "p"
[[registry]]
server = "docker.io"
username = "operator"
password = "p"
`
	auths := map[string]string{"DOCKER_AUTH_CONFIG": `{"auths": {
		"https://index.docker.io/v1/": {"auth": "aHViOnA="},
		"registry.example.com": {"username": "author", "password": "p"},
		"registry.example.com/team/app": {"username": "author-of-app", "password": "p"},
		"https://Other.example.com:5000/v2/team": {"username": "author-of-other", "password": "p"},
		"gitlab.example.com:5050": {}, "quay.io": {"auth": "dG9rZW46", "identitytoken": "t"}}}`}
	own := []Credential{{"registry.example.com", "job", "p"}, {"gitlab.example.com:5050", "job", "p"},
		{"registry.example.com/team/dependency_proxy/containers", "job-of-proxy", "p"}}
	tests := []struct {
		name      string
		variables map[string]string
		images    []string
		want      []string // user@server
	}{
		{"none", nil, []string{"quay.io/a/b"}, nil},
		{"the operator's for the hub", nil, []string{"maven:3"}, []string{"operator@docker.io"}},
		{"the author's own before that", auths, []string{"maven:3"}, []string{"hub@docker.io"}},
		{"the operator's before the job's", nil, []string{"registry.example.com/team/x"}, []string{"operator@registry.example.com"}},
		{"the job's", nil, []string{"gitlab.example.com:5050/a/b:1"}, []string{"job@gitlab.example.com:5050"}},
		{"the longest path", auths, []string{"registry.example.com/team/app/web:1"}, []string{"author-of-app@registry.example.com"}},
		{"the longest path of a later source", auths, []string{"registry.example.com/team/dependency_proxy/containers/jdk:1"}, []string{"job-of-proxy@registry.example.com"}},
		{"a path is whole", auths, []string{"registry.example.com/team/application"}, []string{"author@registry.example.com"}},
		{"a port", auths, []string{"other.example.com:5000/a"}, []string{"author-of-other@other.example.com:5000"}},
		{"letters of a host", auths, []string{"Registry.example.com/team/app/web"}, []string{"author-of-app@Registry.example.com"}},
		{"none of docker's credential helpers", auths, []string{"gitlab.example.com:5050/a/b:1"}, []string{"job@gitlab.example.com:5050"}},
		{"none by a token", auths, []string{"quay.io/a/b"}, nil},
		{"one for a registry", auths, []string{"registry.example.com/team/app", "registry.example.com/x", "maven"},
			[]string{"author-of-app@registry.example.com", "hub@docker.io"}},
	}
	cfg, err := config.Parse("test.toml", []byte(smallDriverFile+operators))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			job := someJob()
			job.variables, job.Credentials = tt.variables, own
			credentials, _, err := pullCredentials(cfg, job, tt.images)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range credentials {
				got = append(got, c.UserName+"@"+c.Server)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			shared := "image registry.example.com/x is pulled by the login for image registry.example.com/team/app, as ECI takes one for a registry: it must do for both"
			told := strings.Join(sharedLogins(cfg, job, tt.images), "\n")
			if both := tt.name == "one for a registry"; both && told != shared || !both && told != "" {
				t.Errorf("told %q", told)
			}
		})
	}
}

// An image is judged by the name that the job gave, not by where it is pulled from.
func TestMirrorsDoNotAllow(t *testing.T) {
	driverFile := smallDriverFile + `
[pull]
mirrors = { "docker.io/" = "mirror.example.com/hub/" }
[allow]
images = ["maven:*"]
`
	cfg, err := config.Parse("test.toml", []byte(driverFile))
	if err != nil {
		t.Fatal(err)
	}
	job := someJob()
	spec, err := groupSpec(cfg, job, time.Unix(0, 0))
	if err != nil || spec.Containers[1].Image != "mirror.example.com/hub/library/maven:3" {
		t.Errorf("image %v, %v", spec.Containers, err)
	}
	for _, image := range []string{"mirror.example.com/hub/library/maven:3", "docker.io/library/evil:3", "evil/maven:3"} {
		job.Image.Name = image
		if _, err := groupSpec(cfg, job, time.Unix(0, 0)); err == nil {
			t.Errorf("%s was allowed", image)
		}
	}
	if got := mirrored(&config.Config{}, "maven:3"); got != "maven:3" {
		t.Errorf("without mirrors %s", got)
	}
}
