package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

const (
	javaDemo         = "../../examples/java-demo"
	javaDemoOriginal = "testdata/java-demo-original"
)

// run is what is common to the jobs of a pipeline of a branch.
func (w *javaWorld) run(pipelineID int64, branch string, variables ...coordinator.Variable) coordinator.Job {
	return coordinator.Job{
		ProjectPath: "demo/java", Ref: branch, SHA: w.commits[branch], PipelineID: pipelineID,
		Variables: append(variables,
			coordinator.Variable{Key: "KUBE_CONFIG", Value: w.kube.config(), Masked: true},
			coordinator.Variable{Key: "IMAGE", Value: w.imageOf(pipelineID), Public: true}),
	}
}

// imageOf is what a pipeline pushes.
func (w *javaWorld) imageOf(pipelineID int64) string {
	return fmt.Sprintf("%s/team/java-demo:%d", w.registry.Host, pipelineID)
}

// wantDelivered checks that a pipeline has pushed the application of a branch.
func (w *javaWorld) wantDelivered(pipelineID int64, branch string) {
	w.Helper()
	if got := w.branchIn(w.imageOf(pipelineID)); got != branch {
		w.Errorf("the image of pipeline %d has the application of %s, want that of %s", pipelineID, got, branch)
	}
}

// mavenTime is what Maven says how long it took.
func mavenTime(t *testing.T, trace []byte) string {
	t.Helper()
	found := regexp.MustCompile(`Total time:\s+(\S+ \S+)`).FindSubmatch(trace)
	if found == nil {
		t.Fatal("the trace has no time of Maven's")
	}
	return string(found[1])
}

// The example builds, pushes and deploys. With the Maven repository that the first
// pipeline left on the NAS, the second one builds offline.
func TestJavaDemo(t *testing.T) {
	t.Parallel()
	w := newJavaWorld(t, javaWorldSetup{m2: "/m2/{concurrent_id}"})
	stages := example(t, javaDemo)
	first := w.mustPass(w.startPipeline(stages, w.run(101, gitserver.Branch)))
	w.wantDelivered(101, gitserver.Branch)
	if got := w.kube.image(t, "java-demo"); got != w.imageOf(101) {
		t.Errorf("the cluster runs %s, want %s", got, w.imageOf(101))
	}
	cold := w.maven.requests.Load()
	if cold == 0 {
		t.Error("nothing was asked of the Maven repository")
	}
	// As long as its group may write, the next job gets another slot, and that one's repository.
	if live := w.server.AwaitNone(t.Context()); len(live) > 0 {
		t.Fatalf("groups of the first pipeline stay: %v", live)
	}
	offline := coordinator.Variable{Key: "MAVEN_CLI_OPTS", Value: "--batch-mode --offline", Public: true}
	second := w.mustPass(w.startPipeline(stages, w.run(102, "feature", offline)))
	w.wantDelivered(102, "feature")
	if got := w.kube.image(t, "java-demo"); got != w.imageOf(102) {
		t.Errorf("the cluster runs %s, want %s", got, w.imageOf(102))
	}
	if now := w.maven.requests.Load(); now != cold {
		t.Errorf("offline, the Maven repository was asked %d times", now-cold)
	}
	t.Logf("mvn clean package: first %s, with %d requests to a repository on this machine that answers at once; then offline %s",
		mavenTime(t, first["package"].Trace), cold, mavenTime(t, second["package"].Trace))
	for name, result := range second {
		for _, secret := range []string{registryPassword, w.kube.token, w.kube.config()} {
			if bytes.Contains(result.Trace, []byte(secret)) {
				t.Errorf("the trace of %s holds a secret", name)
			}
		}
	}
}

// Two pipelines of the example at once on one NAS: each delivers its own application.
func TestJavaDemoAtOnce(t *testing.T) {
	t.Parallel()
	w := newJavaWorld(t, javaWorldSetup{m2: "/m2/{concurrent_id}"})
	stages := example(t, javaDemo)
	one, two := w.run(201, gitserver.Branch), w.run(202, "feature")
	runs := []pipelineRun{{}, {}}
	var before [2][]int64
	for _, stage := range stages { // the jobs of both next to each other in the queue
		before[0] = w.startStage(stage, one, runs[0], before[0]...)
		before[1] = w.startStage(stage, two, runs[1], before[1]...)
	}
	w.mustPass(runs[0])
	w.mustPass(runs[1])
	w.wantDelivered(201, gitserver.Branch)
	w.wantDelivered(202, "feature")
}

// The original's pipelines pass too, but its files have one name for all: a pipeline
// that packages between another one's package and build stages has that one deliver
// its own application. All stay green.
func TestJavaDemoOriginal(t *testing.T) {
	t.Parallel()
	const elsewhere = "registry.example.com"
	w := newJavaWorld(t, javaWorldSetup{m2: "/m2", files: func(files map[string]string, registry string) {
		files["deployment.yaml"] = strings.ReplaceAll(files["deployment.yaml"], "IMAGE_NAME", registry+"/team/java-demo:IMAGE_TAG")
	}})
	stages := example(t, javaDemoOriginal)
	for _, stage := range stages {
		for _, job := range stage.Jobs {
			for i := range job.Script {
				job.Script[i] = strings.ReplaceAll(job.Script[i], elsewhere, w.registry.Host)
			}
		}
	}
	one, two := pipelineRun{}, pipelineRun{}
	packaged := w.startStage(stages[0], w.run(301, gitserver.Branch), one)
	packaged = w.startStage(stages[0], w.run(302, "feature"), two, packaged...)
	built := w.startStage(stages[1], w.run(301, gitserver.Branch), one, packaged...)
	w.startStage(stages[2], w.run(301, gitserver.Branch), one, built...)
	w.startStage(stages[1], w.run(302, "feature"), two, packaged...)
	w.mustPass(one)
	w.mustPass(two)
	if got := w.kube.image(t, "java-demo"); got != w.imageOf(301) {
		t.Errorf("the cluster runs %s, want %s", got, w.imageOf(301))
	}
	w.wantDelivered(302, "feature")
	w.wantDelivered(301, "feature") // and not main's
}
