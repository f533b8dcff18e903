package e2e

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

var update = flag.Bool("update", false, "record the demo's scripts anew")

// demoAddress is the one that the demo's git server listens on; scripts hold it.
const demoAddress = "127.0.0.1:8929"

// demoJobs is the demo's pipeline. The first job leaves a file on /cache, the
// later ones take it from there.
func demoJobs(sha string) []coordinator.Job {
	image := coordinator.Image{Name: "demo/build:1"}
	return []coordinator.Job{
		{ID: 501, Name: "package", Stage: "package", SHA: sha, Image: image, PipelineID: 77, Script: []string{
			`sh ./pack.sh out`,
			`tar -C out -czf "/cache/app-$CI_PIPELINE_ID.tar.gz" app VERSION`,
			`echo "left app-$CI_PIPELINE_ID.tar.gz on /cache"`,
		}},
		{ID: 502, Name: "build", Stage: "build", SHA: sha, Image: image, PipelineID: 77, Script: []string{
			`mkdir -p image && tar -C image -xzf "/cache/app-$CI_PIPELINE_ID.tar.gz"`,
			`./image/app`,
			`(cd image && sha256sum app VERSION) | tee "/cache/app-$CI_PIPELINE_ID.sha256"`,
		}},
		{ID: 503, Name: "deploy", Stage: "deploy", SHA: sha, Image: image, PipelineID: 77, Script: []string{
			`mkdir -p release && tar -C release -xzf "/cache/app-$CI_PIPELINE_ID.tar.gz"`,
			`(cd release && sha256sum -c "/cache/app-$CI_PIPELINE_ID.sha256")`,
			`echo "version $(cat release/VERSION) is out"`,
		}, AfterScript: []string{
			`rm -f "/cache/app-$CI_PIPELINE_ID.tar.gz" "/cache/app-$CI_PIPELINE_ID.sha256"`,
			`echo "the job ended as $CI_JOB_STATUS"`,
		}},
	}
}

// TestDemoScripts compares what the demo runs with what a real runner makes of
// its pipeline; -update records it anew.
func TestDemoScripts(t *testing.T) {
	recorded, port := recordDemo(t)
	data := filepath.Join("..", "..", "testdata")
	for _, job := range demoJobs("") {
		t.Run(job.Name, func(t *testing.T) {
			from := filepath.Join(recorded, fmt.Sprint(job.ID))
			scripts, err := filepath.Glob(filepath.Join(from, "*.sh"))
			if err != nil || len(scripts) < 4 {
				t.Fatalf("%d scripts recorded (%v)", len(scripts), err)
			}
			saved := filepath.Join(data, "demo", job.Name)
			pairs := map[string]string{filepath.Join(from, "response.json"): filepath.Join(data, "jobs", job.Name+".json")}
			for _, s := range scripts {
				pairs[s] = filepath.Join(saved, filepath.Base(s))
			}
			if *update {
				if err := os.RemoveAll(saved); err != nil {
					t.Fatal(err)
				}
			}
			for got, want := range pairs {
				golden(t, got, want, port)
			}
			if files, _ := filepath.Glob(filepath.Join(saved, "*")); len(files) != len(scripts) {
				t.Errorf("%d scripts are saved, the runner makes %d", len(files), len(scripts))
			}
		})
	}
}

// golden compares two files but for what differs from one recording to the next.
func golden(t *testing.T, got, want, port string) {
	t.Helper()
	recorded, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	_, demoPort, _ := strings.Cut(demoAddress, ":")
	recorded = regexp.MustCompile(`\b`+port+`\b`).ReplaceAll(recorded, []byte(demoPort))
	if *update {
		if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(want, recorded, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	volatile := regexp.MustCompile(`\b[0-9a-f]{32}\b`) // correlation ids
	mask := func(b []byte) string { return string(volatile.ReplaceAll(b, []byte("..."))) }
	if diff := cmp.Diff(mask(saved), mask(recorded)); diff != "" {
		t.Errorf("%s: -saved +recorded\n%s", want, diff)
	}
}

// recordDemo lets a real runner take the demo's jobs and returns the directory
// where the recorder left response and scripts of each, and the port that they
// have of GitLab's: a demo may run beside the test, and have its own.
func recordDemo(t *testing.T) (dir, port string) {
	t.Helper()
	root, out := t.TempDir(), t.TempDir()
	sha, err := gitserver.CreateRepository(filepath.Join(root, "demo", "app.git"), repoFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, _ = strings.Cut(address, ":")
	coord := coordinator.New()
	server := &http.Server{Handler: coord}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { server.Close() })
	recorder, err := filepath.Abs(filepath.Join("recorder", "recorder.sh"))
	if err != nil {
		t.Fatal(err)
	}
	r := startRunner(t, t.TempDir(), runnerConfig{URL: "http://" + address, Concurrent: 1, Exec: recorder, Args: []string{out}})
	ctx, cancel := context.WithTimeout(t.Context(), jobTimeout)
	defer cancel()
	for _, job := range demoJobs(sha) {
		id := coord.Enqueue(job)
		if result, err := coord.Wait(ctx, id); err != nil || result.State != "success" {
			t.Fatalf("job %s: %v, %+v\n%s", job.Name, err, result, r.log())
		}
	}
	return out, port
}
