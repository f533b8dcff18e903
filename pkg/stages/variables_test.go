package stages

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serviceEnvs are the environments of a job's services, of a job response with these
// variables and of what the runner says in CI_JOB_SERVICES.
func serviceEnvs(t *testing.T, variables, services, told string, custom map[string]string) []map[string]string {
	t.Helper()
	var r response
	if err := json.Unmarshal([]byte(`{"id": 5, "variables": `+variables+`, "services": `+services+`}`), &r); err != nil {
		t.Fatal(err)
	}
	env := Env{Attempt: "0123abcd", Custom: map[string]string{"CI_JOB_SERVICES": told}}
	maps.Copy(env.Custom, custom)
	job := newJob(r, env)
	var all []map[string]string
	for _, s := range job.Services {
		values := map[string]string{}
		env, _ := serviceEnv(job, s)
		for _, v := range env {
			values[v.Name] = v.Value
		}
		all = append(all, values)
	}
	return all
}

// What a service knows of its job, whatever the runner's version tells.
func TestServiceVariables(t *testing.T) {
	const two = `[{"name": "redis:7", "variables": [{"key": "A", "value": "$TOKEN-$B"}, {"key": "B", "value": "b"}, {"key": "R", "value": "$TOKEN", "raw": true}]}, {"name": "pg"}]`
	const token = `[{"key": "TOKEN", "value": "secret", "masked": true}]`
	own := []map[string]string{{"A": "secret-b", "B": "b", "R": "$TOKEN"}, {}}
	tests := []struct {
		name, variables, services, told string
		custom                          map[string]string
		want                            []map[string]string
	}{
		{"the runner tells", token, two, `[{"name":"redis:7","variables":{"A":"by the runner","B":"b","R":"$TOKEN","C":"nobody's"}},{"name":"pg"}]`, nil,
			[]map[string]string{{"A": "by the runner", "B": "b", "R": "$TOKEN"}, {}}},
		{"an older runner tells no variables", token, two, `[{"name":"redis:7","alias":""},{"name":"pg"}]`, nil, own},
		{"the runner tells of some", token, two, `[{"name":"redis:7","variables":{"B":"2"}},{"name":"pg"}]`, nil,
			[]map[string]string{{"A": "secret-b", "B": "2", "R": "$TOKEN"}, {}}},
		{"missing", token, two, "", nil, own},
		{"damaged", token, two, `[{"name":"redis:7","variables":{"A":"by`, nil, own},
		{"another shape", token, two, `{"name":"redis:7"}`, nil, own},
		{"another length", token, two, `[{"name":"redis:7","variables":{"A":"by the runner"}}]`, nil, own},
		{"another order", token, two, `[{"name":"pg","variables":{"A":"x"}},{"name":"redis:7","variables":{"A":"by the runner"}}]`, nil, own},
		{"by a variable of the runner", "[]", `[{"name": "pg", "variables": [{"key": "A", "value": "${CI_PROJECT_DIR}/x$$y"}]}]`, "",
			map[string]string{"CI_PROJECT_DIR": "/builds/a"}, []map[string]string{{"A": "/builds/a/x$y", "CI_PROJECT_DIR": "/builds/a"}}},
		{"the runner's own, but the job's secret of that name", `[{"key":"CI_PROJECT_DIR","value":"secret"}]`, `[{"name": "pg"}]`, "",
			map[string]string{"CI_PROJECT_DIR": "secret", "CI_BUILDS_DIR": "/builds"}, []map[string]string{{"CI_BUILDS_DIR": "/builds"}}},
		{"public ones, expanded with public ones alone",
			`[{"key":"P","value":"$Q and $TOKEN","public":true},{"key":"Q","value":"q","public":true},{"key":"TOKEN","value":"secret","public":true,"masked":true},{"key":"RAW","value":"$Q","public":true,"raw":true}]`,
			`[{"name": "pg"}]`, "", map[string]string{"P": "q and secret"},
			[]map[string]string{{"P": "q and ${TOKEN}", "Q": "q", "RAW": "$Q"}}},
		{"public first, secret in the end", `[{"key":"P","value":"p","public":true},{"key":"P","value":"secret"}]`, `[{"name": "pg"}]`, "", nil, []map[string]string{{}}},
		{"own over the job's", `[{"key":"P","value":"job","public":true}]`, `[{"name": "pg", "variables": [{"key":"P","value":"own"}]}]`, "", nil, []map[string]string{{"P": "own"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := serviceEnvs(t, tt.variables, tt.services, tt.told, tt.custom)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// What of a service's own ECI can't take is left out of the request, and told.
func TestServiceVariablesThatECICannotTake(t *testing.T) {
	job := someJob()
	job.PublicVariables = []Variable{{Key: "JOB_LONG", Value: strings.Repeat("x", 257)}}
	job.Services = []Image{{Name: "redis:7", Variables: []Variable{
		{Key: "FITS", Value: strings.Repeat("ö", 256)}, {Key: "LONG", Value: strings.Repeat("x", 257)}, {Key: "my.key", Value: "x"}}}}
	want := "the variable LONG of service redis:7 is left out: ECI takes values of at most 256 characters, and names of letters, digits and _\n" +
		"the variable my.key of service redis:7 is left out: ECI takes values of at most 256 characters, and names of letters, digits and _"
	if got := strings.Join(leftOut(job), "\n"); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	request := requestOf(t, smallDriverFile, job)
	for key, within := range map[string]bool{"FITS": true, "LONG": false, "my.key": false, "JOB_LONG": false} {
		if got := strings.Contains(request, ".Key="+key+"\n"); got != within {
			t.Errorf("%s in the request: %v, want %v", key, got, within)
		}
	}
}

// Of more variables than ECI may take a service gets its own and the author's before those
// of GitLab, and the job is told what it does not get.
func TestServiceVariablesOfWhichThereAreTooMany(t *testing.T) {
	job := someJob()
	for i := range envMost - 1 {
		job.PublicVariables = append(job.PublicVariables, Variable{Key: fmt.Sprintf("CI_%03d", i), Value: "gitlab's"})
	}
	job.PublicVariables = append(job.PublicVariables, Variable{Key: "ZONE", Value: "author's"})
	job.Services = []Image{{Name: "redis:7"}}
	if lines := leftOut(job); len(lines) != 0 {
		t.Errorf("%d variables are not too many, and the job is told %q", envMost, lines)
	}
	job.Services = []Image{{Name: "redis:7", Variables: []Variable{{Key: "CI_OWN", Value: "own"}, {Key: "ZZ", Value: "own"}}}}
	want := "service redis:7 gets 234 variables, as ECI bounds their number, and not CI_231, CI_232"
	if got := strings.Join(leftOut(job), "\n"); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	request := requestOf(t, smallDriverFile, job)
	for key, within := range map[string]bool{"CI_000": true, "CI_230": true, "CI_231": false, "CI_OWN": true, "ZZ": true, "ZONE": true} {
		if got := strings.Contains(request, ".Key="+key+"\n"); got != within {
			t.Errorf("%s in the request: %v, want %v", key, got, within)
		}
	}
}

// A variable of the job that refers to a secret is told, where services could miss it.
func TestServicesMissASecret(t *testing.T) {
	job := someJob()
	job.PublicVariables = publicVariables([]Variable{{Key: "POSTGRES_PASSWORD", Value: "$DB_PASS", Public: true},
		{Key: "PLAIN", Value: "$OTHER", Public: true}, {Key: "DB_PASS", Value: "secret", Masked: true}})
	if lines := leftOut(job); len(lines) != 0 {
		t.Errorf("a job without services is told %q", lines)
	}
	job.Services = []Image{{Name: "postgres:16"}}
	want := "services get the variable POSTGRES_PASSWORD with ${DB_PASS} as it stands, which is not public: " +
		"a service that needs its value has to name POSTGRES_PASSWORD among its own variables"
	if got := strings.Join(leftOut(job), "\n"); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	own := []Variable{{Key: "POSTGRES_PASSWORD", Value: "secret"}}
	job.Services = []Image{{Name: "postgres:16", Variables: own}, {Name: "mysql:8", Variables: own}}
	if lines := leftOut(job); len(lines) != 0 {
		t.Errorf("though every service has its own, the job is told %q", lines)
	}
}
