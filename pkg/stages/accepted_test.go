package stages_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// oddAuthor draws jobs out of what authors write, and of what they should not.
type oddAuthor struct{ *rand.Rand }

func (a oddAuthor) one(of ...string) string { return of[a.IntN(len(of))] }

// rarely is true once in n times.
func (a oddAuthor) rarely(n int) bool { return a.IntN(n) == 0 }

func (a oddAuthor) text() string {
	long := func(n int) string { return strings.Repeat(a.one("x", "é", "日", "a-", "A"), n) }
	return a.one("", " ", "a", "A b", "http://x/y", "acs:foo", "aliyun", "$TOKEN", "${A}", "$$", "-", "a.b", "a_b", "日本", "a\nb", "\x00", `"`, "'",
		"a,b c", "&a=b", "%41", "+", "1", long(63), long(64), long(128), long(129), long(257))
}

func (a oddAuthor) image() map[string]any {
	hex := strings.Repeat("0", 64)
	image := map[string]any{"name": a.one("host", "host", "host:latest", "registry.example.com:5000/a/b:1", "r.example.com/a@sha256:"+hex, "a:1@sha256:"+hex,
		"localhost/x", "X.example.com/a", "index.docker.io/library/a", "a/"+strings.Repeat("b", 251), "a/"+strings.Repeat("b", 252), "A", "a b", "")}
	if a.rarely(2) {
		image["alias"] = a.one("db", "db,cache", "build", "helper", "svc-0", "svc-1", "svc-2", a.text()+" "+a.text())
	}
	for _, key := range []string{"entrypoint", "command"} {
		if a.rarely(4) {
			image[key] = []string{"sh", "-c", a.text()}[a.IntN(3):]
		}
	}
	if a.rarely(4) {
		image["variables"] = a.variables(3)
	}
	if a.rarely(6) {
		image["pull_policy"] = []string{a.one("always", "if-not-present", "never"), "always"}
	}
	if a.rarely(8) {
		image["ports"] = []map[string]any{{"number": a.IntN(20_000)}}
	}
	if a.rarely(8) {
		image["executor_opts"] = map[string]any{a.one("kubernetes", "docker"): map[string]any{"user": a.one("1000", "1000:1000", "nobody")}}
	}
	return image
}

// variables of which there are at most n, or now and then hundreds.
func (a oddAuthor) variables(n int) (list []map[string]any) {
	if a.rarely(20) {
		n = 400
	}
	sizes := []string{"ECI_CPU", "ECI_MEMORY", "ECI_HELPER_CPU", "ECI_HELPER_MEMORY", "ECI_SERVICE_CPU", "ECI_SERVICE_MEMORY", "KUBERNETES_CPU_LIMIT",
		"KUBERNETES_MEMORY_REQUEST", "KUBERNETES_EPHEMERAL_STORAGE_LIMIT"}
	const logins = `{"auths":{"registry.example.com:5000":{"auth":"YTpi"},"docker.io":{"username":"u"},"r.example.com":{},"https://x.example.com/v2/":{"auth":"Yjo="},"":{"auth":"YTpi"}}}`
	for range a.IntN(n) {
		v := map[string]any{"public": a.rarely(2), "masked": a.rarely(6), "file": a.rarely(6), "raw": a.rarely(4)}
		switch a.IntN(8) {
		case 0:
			key := a.one(sizes...)
			v["key"], v["value"] = key, a.one("1", "2", "0.5", "500m", "1.7")
			if !strings.Contains(key, "CPU") {
				v["value"] = a.one("1Gi", "2GiB", "3.3G", "700M", "1Ki", "5000000000")
			}
		case 1:
			v["key"], v["value"] = a.one("ECI_INSTANCE_TYPES", "ECI_SPOT", "HEALTHCHECK_TCP_PORT"), a.one("2-4Gi", "ecs.c6.large", "ecs.gn6i-c4g1.xlarge", "as-price-go", "8080")
		case 2:
			v["key"], v["value"] = a.one("DOCKER_AUTH_CONFIG", "FF_KUBERNETES_HONOR_ENTRYPOINT"), a.one(logins, "true")
		case 3:
			v["key"], v["value"] = a.one("CI_SERVER_HOST", "CI_RUNNER_ID", "CI_PIPELINE_ID"), a.text()
		default:
			v["key"], v["value"] = a.one("A", "TOKEN", "K")+a.one("", "1", "2", "3", "4", "5", "6", "7")+a.one("", "8", "9", "a", "b", "c", "d", "é"), a.text()
		}
		list = append(list, v)
	}
	return list
}

// job is laid over that of a world.
func (a oddAuthor) job() map[string]any {
	var services []map[string]any
	for range a.IntN(4) {
		services = append(services, a.image())
	}
	return map[string]any{
		"id":        1 + a.Int64N(1<<50),
		"job_info":  map[string]any{"project_id": a.Int64N(1 << 50), "project_name": a.text(), "project_full_path": a.one("", a.text()), "pipeline_id": a.Int64N(2)},
		"git_info":  map[string]any{"repo_url": a.one("", "::", "https://gitlab.example.com/group/app.git")},
		"variables": a.variables(8), "image": a.image(), "services": services,
		"runner_info": map[string]any{"timeout": a.IntN(1_000_000) - 10},
		"credentials": []map[string]any{{"type": "registry", "url": a.one("registry.example.com:5000", "https://r.example.com", a.text()), "username": "u", "password": "p"}},
	}
}

// A job is either refused with a sentence for its author, before there is a call, or its
// request is within all that ECI documents.
func TestWhateverAJobAsksFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	w.config.Allow.Users, w.config.Allow.Spot = []string{"1000", "1000:1000"}, []string{"as-price-go"}
	w.config.Allow.InstanceTypes, w.config.Allow.MaxEphemeralStorage = []string{"2-4Gi", "ecs.c6.large", "ecs.gn6i-c4g1.xlarge"}, 100
	w.config.Group.LogService = config.Params{"name": "ci", "project": "ci", "logstore": "jobs", "machinegroup": "m", "shard": "2", "ttl": "7", "tags": "a=b"}
	w.config.Registries = []config.Registry{{Server: "registry.example.com:5000", Username: "ci", Password: "p"}, {Server: "acr.example.com", ACRInstanceID: "cri-1"}}
	seed := rand.Uint64()
	author, accepted := oddAuthor{rand.New(rand.NewPCG(seed, 0))}, 0
	const jobs = 400
	for range jobs {
		drawn := author.job()
		w.job(t, drawn)
		s := w.stage(t, nil)
		spec, err := s.Job.Request(w.config, time.Now())
		if build := new(stages.BuildError); errors.As(err, &build) && build.Message != "" {
			continue
		}
		if err == nil {
			accepted++
			params := spec.Params()
			params["DryRun"] = "true"
			_, err = s.API.CreateContainerGroup(t.Context(), params)
		}
		switch eci.CodeOf(err) {
		case "DryRunOperation", "InvalidSpotCpuMemorySpec": // which prepare has the author mend: blameSize
		default:
			t.Errorf("seed %d: %v\n%v", seed, err, drawn)
		}
	}
	if accepted < jobs/10 {
		t.Errorf("seed %d: of %d jobs only %d were not refused", seed, jobs, accepted)
	}
}
