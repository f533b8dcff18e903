package stages

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
)

var update = flag.Bool("update", false, "write the golden requests anew")

// requestOf is the create request of a job as a text, a parameter a line.
func requestOf(t *testing.T, driverFile string, job *Job) string {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(driverFile))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := groupSpec(cfg, job, time.Unix(1_790_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	params := spec.Params()
	for key := range params {
		if strings.HasSuffix(key, ".Content") {
			params[key] = "..." // eci-remote.sh itself
		}
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "%s=%s\n", key, params[key])
	}
	return b.String()
}

const smallDriverFile = `region = "ap-northeast-1"
[helper]
image = "helper:{arch}-v{runner_version}"
`

func someJob() *Job {
	return &Job{ID: 42, ProjectID: 7, ProjectPath: "group/app", PipelineID: "99", Instance: "gitlab.example.com", RunnerID: "12",
		RunnerVersion: "19.4.0", Attempt: "0123abcd", Timeout: time.Hour, Image: Image{Name: "maven:3"}}
}

// Without allowed_policies the runner's own are allowed, as in the Kubernetes executor.
func TestOwnPullPoliciesAreAllowed(t *testing.T) {
	cfg := &config.Config{Pull: config.Pull{Policy: []string{"always", "if-not-present"}}}
	for _, wanted := range [][]string{nil, {"always", "if-not-present"}} {
		got, err := pullPolicies(cfg, "maven:3", wanted)
		if err != nil || strings.Join(got, " ") != "Always IfNotPresent" {
			t.Errorf("wanted %v, got %v, error %v", wanted, got, err)
		}
	}
}

func TestRequests(t *testing.T) {
	withServices := someJob()
	withServices.Services = []Image{
		{Name: "registry.example.com:5000/team/redis:7", Aliases: []string{"cache", "Bad_Name"}, Command: []string{"redis-server"},
			Variables: []Variable{{Key: "ROLE", Value: "own"}}},
		{Name: "postgres:16", Entrypoint: []string{"/bin/pg"}},
	}
	withServices.PublicVariables = []Variable{{Key: "CI", Value: "true"}, {Key: "ROLE", Value: "job"}, {Key: "LONG", Value: strings.Repeat("x", 300)}}
	private := someJob()
	private.Image = Image{Name: "registry.example.com/app", PullPolicy: []string{"if-not-present"}}
	private.Credentials = []Credential{{"registry.example.com", "gitlab-ci-token", "job-pass"}}
	private.variables = map[string]string{
		"DOCKER_AUTH_CONFIG": `{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`, "ECI_CPU": "4", "ECI_MEMORY": "16GiB"}
	mirrored := someJob()
	mirrored.Image = Image{Name: "maven:3@sha256:" + strings.Repeat("0a", 32)}
	mirrored.Services = []Image{{Name: "bitnami/redis"}, {Name: "registry.gitlab.com/team/db:1"}, {Name: "registry.example.com/other"}}
	variables := newJob(response{ID: 42, Image: responseImage{Name: "maven:3"},
		Variables: []Variable{{Key: "CI_SERVER_HOST", Value: "gitlab.example.com", Public: true}, {Key: "TOKEN", Value: "t0ken", Masked: true}},
		Services: []responseImage{{Name: "postgres:16", Alias: "db,pg", Variables: []Variable{
			{Key: "POSTGRES_USER", Value: "$CI_PROJECT_NAME"}, {Key: "POSTGRES_DB", Value: "test"}, {Key: "LONG", Value: strings.Repeat("x", 257)}}}},
	}, Env{Attempt: "0123abcd", Custom: map[string]string{"CI_RUNNER_VERSION": "19.4.0", "CI_PROJECT_DIR": "/builds/group/app",
		"CI_JOB_SERVICES": `[{"name":"postgres:16","alias":"db","variables":{"POSTGRES_USER":"app","POSTGRES_DB":"test"}}]`}})
	dind := someJob()
	dind.Services = []Image{{Name: "docker:dind", Ports: []int{2375, 2376}, Variables: []Variable{{Key: healthPortVariable, Value: "2376"}}},
		{Name: "registry.example.com/docker-dind:1", Ports: []int{80}}}
	slotted := someJob()
	slotted.Slot, slotted.Services = "host-1", []Image{{Name: "postgres:16"}}
	entrypoint := someJob()
	entrypoint.variables = map[string]string{"FF_KUBERNETES_HONOR_ENTRYPOINT": "true"}
	entrypoint.Image.Entrypoint = []string{"/entry", "--quiet"}
	entrypoint.Services = []Image{{Name: "redis", Entrypoint: []string{""}, Command: []string{"redis-server", "--port", "7000"}}}
	tests := []struct {
		name, driverFile string
		job              *Job
	}{
		{"small", smallDriverFile, someJob()},
		{"services", smallDriverFile, withServices},
		{"service-variables", smallDriverFile, variables},
		{"service-privileged", smallDriverFile + "[allow]\nprivileged_services = [\"docker:*dind*\"]\n", dind},
		{"private-registry", smallDriverFile + "[[registry]]\nserver = \"docker.io\"\nusername = \"operator\"\npassword = \"op-pass\"\n", private},
		{"mirrors", smallDriverFile + "[pull]\npolicy = [\"always\", \"if-not-present\"]\n" +
			`mirrors = { "docker.io/" = "mirror.example.com/hub/", "docker.io/library/" = "mirror.example.com/library/", "registry.gitlab.com/" = "mirror.example.com/gitlab/" }`, mirrored},
		{"entrypoint", smallDriverFile, entrypoint},
		{"log-service", smallDriverFile + "[group]\nlog_service = { project = \"ci\", logstore = \"jobs\" }\n", withServices},
		{"capacity", smallDriverFile + `[capacity]
instance_types = ["ecs.c6.large", "2-4Gi"]
ephemeral_storage = 20
architecture = "arm64"
[spot]
strategy = "as-price-go"
duration = 0
`, someJob()},
		{"gpu", smallDriverFile + `[capacity]
instance_types = ["ecs.gn6i-c24g1.12xlarge", "ecs.gn7i-c32g1.16xlarge"]
[group]
request = { GpuDriverVersion = "tesla=535" }
`, someJob()},
		{"volumes", smallDriverFile + `[build]
shm_size = "1500MB"
[[volume]]
name = "scratch"
type = "empty_dir"
mount_path = "/scratch"
[[volume]]
name = "ram"
type = "empty_dir"
mount_path = "/ram"
medium = "memory"
size = "1GiB"
containers = ["build", "service"]
[[volume]]
name = "maven"
type = "secret"
mount_path = "/etc/maven"
files = { "settings.xml" = "/etc/eci-executor/settings.xml" }
containers = ["build"]
[[volume]]
name = "netrc"
type = "secret"
mount_path = "/etc/netrc"
files = { netrc = "/etc/eci-executor/netrc" }
[[volume]]
name = "models"
type = "oss"
mount_path = "/models"
options = { bucket = "models", url = "oss-ap-northeast-1-internal.aliyuncs.com", ramRole = "ci-oss" }
containers = ["build"]
[capacity]
ephemeral_storage = 100
`, withServices},
		{"service-mounts", smallDriverFile + `[[nas]]
name = "builds"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/builds/{project_id}/{concurrent_id}"
mount_path = "/builds"
containers = ["helper", "build", "service"]
[[nas]]
name = "data"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/data"
mount_path = "/data"
options = "vers=4.0,hard"
containers = ["service"]
[[volume]]
name = "certs"
type = "empty_dir"
mount_path = "/certs"
[[volume]]
name = "conf"
type = "secret"
mount_path = "/etc/svc"
files = { conf = "/etc/eci-executor/conf" }
containers = ["service"]
[[volume]]
name = "models"
type = "oss"
mount_path = "/models"
options = { bucket = "models", url = "oss-ap-northeast-1-internal.aliyuncs.com", ramRole = "ci-oss", otherOpts = "-o allow_other" }
containers = ["build", "service"]
`, slotted},
		{"everything", `region = "ap-northeast-1"
vswitch_ids = ["vsw-1", "vsw-2"]
vswitch_strategy = "random"
security_group_id = "sg-1"
runner_name = "java-runner-1"
[build]
environment = { MAVEN_ARGS = "-B" }
builds_medium = "memory"
shm_size = "1GiB"
[helper]
image = "helper:1"
cpu = 0.5
memory = "1GiB"
[[nas]]
name = "m2"
server = "nas-1.ap-northeast-1.nas.aliyuncs.com"
path = "/m2/{project_id}"
mount_path = "/root/.m2"
containers = ["build"]
[image_cache]
snapshot_id = "imc-1"
[spot]
strategy = "price-limit"
price_limit = 0.5
[network]
auto_eip = true
[group]
ram_role = "ci"
tags = { team = "java" }
request = { CorePattern = "/tmp" }
`, someJob()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden := filepath.Join("..", "..", "testdata", "requests", "job-"+tt.name+".txt")
			got := requestOf(t, tt.driverFile, tt.job)
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// own is a service with a variable of its own.
func own(name, key, value string) Image {
	return Image{Name: name, Variables: []Variable{{Key: key, Value: value}}}
}

func TestGroupSpecRefuses(t *testing.T) {
	job := func(change func(*Job)) *Job { j := someJob(); change(j); return j }
	tests := []struct {
		name, driverFile string
		job              *Job
		want             string
	}{
		{"no image", "", job(func(j *Job) { j.Image.Name = "" }), "add `image:` to the job"},
		{"image not allowed", "[allow]\nimages = [\"a/**\"]", someJob(), `image "maven:3" is not allowed on this runner; allowed are a/**`},
		{"no image allowed", "[allow]\nimages = []", someJob(), `image "maven:3" is not allowed on this runner; allowed are none`},
		{"no image reference", "", job(func(j *Job) { j.Image.Name = "UPPER case" }), "is not an image reference"},
		{"service not allowed", "[allow]\nservices = [\"a/**\"]", job(func(j *Job) { j.Services = []Image{{Name: "redis"}} }), `service "redis" is not allowed`},
		{"too many services", "[allow]\nmax_services = 0", job(func(j *Job) { j.Services = []Image{{Name: "redis"}} }), "1 services, this runner allows 0"},
		{"more services than a group has room for", "[allow]\nmax_services = 30", job(func(j *Job) {
			j.Services = slices.Concat([]Image{{Name: "db", Operator: true}}, slices.Repeat([]Image{{Name: "redis"}}, 18))
		}), "the job has 19 services, 1 of them the runner's, and a container group has room for 18"},
		{"pull policy not allowed", "", job(func(j *Job) { j.Image.PullPolicy = []string{"never"} }), "pull_policy never of image"},
		{"pull policy that is not the runner's", "[pull]\npolicy = [\"always\"]\nallowed_policies = []", job(func(j *Job) { j.Image.PullPolicy = []string{"never"} }), "allowed are always"},
		{"too much memory", "[allow]\nmax_memory = \"8GiB\"", job(func(j *Job) { j.variables = map[string]string{"ECI_MEMORY": "9GiB"} }), "above the maximum of this runner, 8 GiB"},
		{"no number", "", job(func(j *Job) { j.variables = map[string]string{"ECI_CPU": "many"} }), "is no number of vCPU"},
		{"kept too long", "[debug]\nkeep_on_failure = \"1h\"", job(func(j *Job) { j.variables = map[string]string{"ECI_KEEP_ON_FAILURE": "61m"} }), "above the maximum of this runner, 1h0m0s"},
		{"no duration", "[debug]\nkeep_on_failure = \"1h\"", job(func(j *Job) { j.variables = map[string]string{"ECI_KEEP_ON_FAILURE": "one hour"} }), `"one hour" is no duration`},
		{"service of no command", "", job(func(j *Job) { j.Services = []Image{{Name: "redis", Entrypoint: []string{""}}} }), "has an empty entrypoint and no command"},
		{"word that is too long", "", job(func(j *Job) {
			j.Services = []Image{{Name: "redis", Entrypoint: []string{"sh", strings.Repeat("é", 257)}}}
		}),
			`service "redis": word 2 of its entrypoint has 257 characters, and ECI takes 256: put the text into a script in the image`},
		{"an empty word", "", job(func(j *Job) { j.Services = []Image{{Name: "redis", Command: []string{"redis-server", "--save", ""}}} }),
			`service "redis": word 3 of its command is empty, and ECI takes none that is: let a shell put it in`},
		{"too many words", "", job(func(j *Job) { j.Services = []Image{{Name: "redis", Command: make([]string, 11)}} }), `service "redis": its command has 11 words, and ECI takes 10`},
		{"entrypoint that is too long", "", job(func(j *Job) {
			j.Image.Entrypoint, j.variables = make([]string, 21), map[string]string{"FF_KUBERNETES_HONOR_ENTRYPOINT": "true"}
		}), `image "maven:3": its entrypoint has 21 words, and ECI takes 20`},
		{"docker in docker", "", job(func(j *Job) { j.Services = []Image{{Name: "docker:28-dind"}} }), "needs a privileged container, which ECI does not give: build images with kaniko or buildah"},
		{"docker in docker of a mirror", "", job(func(j *Job) { j.Services = []Image{{Name: "r.example.com:5000/hub/docker:dind-rootless"}} }), "set DOCKER_HOST to a Docker daemon elsewhere"},
		{"another service is privileged", "[group]\nrequest = { \"Container.4.SecurityContextPrivileged\" = true }",
			job(func(j *Job) { j.Services = []Image{{Name: "docker:dind"}, {Name: "redis"}} }), "needs a privileged container"},
		{"another image is privileged", "[allow]\nprivileged_services = [\"docker:28-dind\"]",
			job(func(j *Job) { j.Services = []Image{{Name: "docker:dind"}} }), "needs a privileged container"},
		{"one port of two services", "", job(func(j *Job) {
			j.Services = []Image{{Name: "redis", Aliases: []string{"cache"}, Ports: []int{80, 6379}}, own("pg", healthPortVariable, "6379")}
		}), `the services cache ("redis") and svc-1 ("pg") both declare port 6379`},
		{"a port of ECI's", "", job(func(j *Job) { j.Services = []Image{{Name: "redis", Ports: []int{10250}}} }), `service "redis" declares port 10250, which ECI uses itself`},
		{"no health port", "", job(func(j *Job) { j.Services = []Image{own("redis", healthPortVariable, "1'; id")} }), `its variable HEALTHCHECK_TCP_PORT: "1'; id" is no port`},
		{"no health port of the job's", "", job(func(j *Job) {
			j.Services, j.variables = []Image{{Name: "redis"}}, map[string]string{healthPortVariable: "65536"}
		}), `the variable HEALTHCHECK_TCP_PORT: "65536" is no port`},
		{"bad DOCKER_AUTH_CONFIG", "", job(func(j *Job) { j.variables = map[string]string{"DOCKER_AUTH_CONFIG": "s3cret"} }), "DOCKER_AUTH_CONFIG is not the JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := config.Parse("test.toml", []byte(smallDriverFile+tt.driverFile))
			if err != nil {
				t.Fatal(err)
			}
			_, err = groupSpec(cfg, tt.job, time.Unix(0, 0))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if _, isBuild := err.(*BuildError); !isBuild { //nolint:errorlint // it must be one itself
				t.Errorf("%T, want a *BuildError: the job's author has to mend it", err)
			}
		})
	}
}

func TestGroupName(t *testing.T) {
	tests := []struct{ name, runner, want string }{
		{"plain", "java", "ci-java-p7-j42-a0123abcd"},
		{"odd letters", " Java_Runner #1 ", "ci-java-runner-1-p7-j42-a0123abcd"},
		{"nothing usable", "日本", "ci-x-p7-j42-a0123abcd"},
		{"long", strings.Repeat("a", 200), "ci-" + strings.Repeat("a", 128-3-len("-p7-j42-a0123abcd")) + "-p7-j42-a0123abcd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := groupName(&config.Config{RunnerName: tt.runner}, someJob()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
