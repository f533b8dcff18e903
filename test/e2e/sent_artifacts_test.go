package e2e

import (
	"archive/zip"
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// artifactsSent are jobs that leave artifacts, and take them.
func artifactsSent(sha string) []sent {
	return []sent{
		{
			name: "artifacts of a failed job",
			job: coordinator.Job{
				Script: []string{"mkdir -p out && echo kept >out/a && echo left >out/b.tmp && echo '<testsuite/>' >report.xml", "exit 1"},
				Artifacts: []coordinator.Artifacts{
					{Name: "never", Paths: []string{"out/"}, When: "on_success"},
					{Name: "out", Paths: []string{"out/"}, Exclude: []string{"out/*.tmp"}, When: "on_failure", ExpireIn: "3 days"},
					{Name: "report", Paths: []string{"report.xml"}, When: "always", Type: "junit", Format: "gzip"},
				},
			},
			exit: 1,
			check: uploads(
				upload{"archive", "zip", "out.zip", "3 days", []string{"out/", "out/a"}},
				upload{"junit", "gzip", "report.gz", "", nil},
			),
		},
		{
			name: "artifacts of a passed job",
			job: coordinator.Job{
				Variables: public("GIT_STRATEGY", "empty"),
				Script: []string{
					`mkdir -p "build/libs of app" && echo '한국어' >"build/libs of app/이름.txt" && chmod 700 build && printf 'exit 0\n' >run.sh && chmod +x run.sh`,
					`printf 'VERSION=%s\n' 1.4.2 >build.env`,
				},
				Artifacts: []coordinator.Artifacts{
					{Name: "app-$CI_JOB_STAGE", Paths: []string{"build/**/*.txt", "run.sh"}, ExpireIn: "1 week"},
					{Name: "never", Paths: []string{"run.sh"}, When: "on_failure"},
					{Name: "env", Paths: []string{"build.env"}, Type: "dotenv", Format: "gzip"},
				},
			},
			check: uploads(
				upload{"archive", "zip", "app-test.zip", "1 week", []string{"build/libs of app/이름.txt", "run.sh"}},
				upload{"dotenv", "gzip", "env.gz", "", nil},
			),
		},
		{
			name: "dependencies", after: []string{"artifacts of a passed job"},
			job:    coordinator.Job{Variables: public("GIT_STRATEGY", "empty"), Script: []string{`printf 'got:%s\n' "$(cat "build/libs of app/이름.txt")"`, "./run.sh"}},
			traces: []string{"\ngot:한국어\n", "Downloading artifacts for job"},
		},
		{
			name: "artifacts:untracked",
			job: coordinator.Job{
				SHA:       sha,
				Script:    []string{"echo new >made", "mkdir -p target && echo new >target/made.o"},
				Artifacts: []coordinator.Artifacts{{Untracked: true, Exclude: []string{"**/*.o"}}},
			},
			check: uploads(upload{"archive", "zip", "artifacts.zip", "", []string{"made"}}),
		},
	}
}

// upload is what is looked at of one: the names in an archive, sorted.
type upload struct {
	Type, Format, Filename, ExpireIn string
	Names                            []string
}

// uploads checks that a job has left these, in this order.
func uploads(want ...upload) func(e *env, id int64) {
	return func(e *env, id int64) {
		var got []upload
		for _, a := range e.coord.Artifacts(id) {
			u := upload{a.Type, a.Format, a.Filename, a.ExpireIn, nil}
			if a.Format == "zip" {
				u.Names = names(e.T, a.Content)
			}
			got = append(got, u)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			e.Errorf("uploads (-want +got):\n%s", diff)
		}
	}
}

func names(t *testing.T, archive []byte) []string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}
