package pipeline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

func TestParse(t *testing.T) {
	got, err := parse([]byte(`
default:
  image: base:1
  before_script: echo before
variables:
  A: "1"
  B: x
cache:
  paths: [/cache]
unit:
  stage: test
  script: echo $A
  after_script:
    - echo after
  cache:
    - key: deps
      paths: [deps/]
      policy: pull
compile:
  stage: build
  tags: [eci]
  image:
    name: other:2
    entrypoint: [""]
  before_script: []
  script:
    - |
      echo one
      echo two
    - echo three
  variables:
    B: y
    C: 3
  artifacts:
    paths: [out]
    expire_in: 1 day
`))
	if err != nil {
		t.Fatal(err)
	}
	public := func(pairs ...string) (all []coordinator.Variable) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, coordinator.Variable{Key: pairs[i], Value: pairs[i+1], Public: true})
		}
		return all
	}
	want := []Stage{
		{"build", []coordinator.Job{{
			Name: "compile", Stage: "build", Image: coordinator.Image{Name: "other:2", Entrypoint: []string{""}},
			Script: []string{"echo one\necho two\n", "echo three"}, Variables: public("A", "1", "B", "y", "C", "3"),
			Cache:     []coordinator.Cache{{Key: "default", Paths: []string{"/cache"}, Policy: "pull-push", When: "on_success"}},
			Artifacts: []coordinator.Artifacts{{Paths: []string{"out"}, ExpireIn: "1 day"}},
		}}},
		{"test", []coordinator.Job{{
			Name: "unit", Stage: "test", Image: coordinator.Image{Name: "base:1"},
			Script: []string{"echo before", "echo $A"}, AfterScript: []string{"echo after"}, Variables: public("A", "1", "B", "x"),
			Cache: []coordinator.Cache{{Key: "deps", Paths: []string{"deps/"}, Policy: "pull", When: "on_success"}},
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, blame string }{
		{"a keyword of a job", "stages: [a]\nj:\n  stage: a\n  script: x\n  rules: []\n", "job j: yaml: unmarshal errors"},
		{"a keyword of a cache", "stages: [a]\nj:\n  stage: a\n  script: x\n  cache: {key: k, paths: [], untracked: true}\n", "untracked"},
		{"a keyword of the file", "include: x\nstages: [a]\n", "job include"},
		{"an unknown stage", "stages: [a]\nj:\n  stage: b\n  script: x\n", "one of the stages [a]"},
		{"no script", "stages: [a]\nj:\n  stage: a\n", "needs a script"},
		{"a list", "- a\n", "not a mapping"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.blame) {
				t.Errorf("error %v, want one with %q", err, tt.blame)
			}
		})
	}
}
