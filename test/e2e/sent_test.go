package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// sent is a job that makes the runner send something of its own, and what comes of it.
type sent struct {
	name   string
	job    coordinator.Job
	exit   int      // the job's exit code
	stages string   // as env.stagesOf gives them, "" = not looked at
	traces []string // texts of the trace
	absent []string // texts that must not be there
	check  func(e *env, id int64)
}

func public(pairs ...string) []coordinator.Variable {
	var vars []coordinator.Variable
	for i := 0; i < len(pairs); i += 2 {
		vars = append(vars, coordinator.Variable{Key: pairs[i], Value: pairs[i+1], Public: true})
	}
	return vars
}

// variablesSent are jobs whose variables are out of the ordinary.
func variablesSent() []sent {
	return []sent{
		{
			name: "a file variable",
			job: coordinator.Job{
				Variables: []coordinator.Variable{{Key: "SETTINGS", Value: "one\ntwo 'quoted' $HOME\n", File: true}},
				Script:    []string{`case $SETTINGS in "$CI_PROJECT_DIR".tmp/*) printf 'in:%s\n' tmp;; esac`, `printf 'file:%s\n' "$(tail -n 1 "$SETTINGS")"`},
			},
			traces: []string{"\nin:tmp\n", "\nfile:two 'quoted' "},
		},
		{
			name: "GITLAB_ENV",
			job: coordinator.Job{
				Script:      []string{`echo "FROM_SCRIPT=kept for later" >>"$GITLAB_ENV"`},
				AfterScript: []string{`printf 'env:%s\n' "$FROM_SCRIPT"`},
			},
			traces: []string{"\nenv:kept for later\n"},
		},
		{
			name: "a masked and a raw variable",
			job: coordinator.Job{
				Variables: []coordinator.Variable{
					{Key: "SECRET", Value: "hunter2-hunter2", Masked: true}, {Key: "RAW", Value: "a$CI_JOB_ID$$b", Raw: true}, {Key: "COOKED", Value: "a${CI_PROJECT_ID}b"},
				},
				Script: []string{`printf 'secret:%s raw:%s cooked:%s\n' "$SECRET" "$RAW" "$COOKED"`},
			},
			traces: []string{"\nsecret:[MASKED] raw:a$CI_JOB_ID$$b cooked:a1b\n"},
			absent: []string{"hunter2"},
		},
		{
			name: "a variable of 100 KB and a token of 1 KB",
			job: coordinator.Job{
				Variables: []coordinator.Variable{
					{Key: "BIG", Value: strings.Repeat("é'\"\\\n ", 100<<10/7)}, {Key: "ID_TOKEN", Value: strings.Repeat("e", 1024), Masked: true},
				},
				Script: []string{`printf 'big:%d token:%d\n' "$(printf %s "$BIG" | wc -c)" "${#ID_TOKEN}"`},
			},
			traces: []string{"\nbig:102396 token:1024\n"},
		},
		{
			name: "CI_DEBUG_TRACE", job: coordinator.Job{Variables: public("CI_DEBUG_TRACE", "true"), Script: []string{`printf 'traced:%s\n' "$CI_PROJECT_ID"`}},
			traces: []string{"\ntraced:1\n", `printf 'traced:%s\n' 1`},
		},
		{
			name: "parallel, in Korean", job: coordinator.Job{Name: "테스트 2/3", Variables: public("CI_NODE_INDEX", "2", "CI_NODE_TOTAL", "3"), Script: []string{`printf '%s:%d of %d\n' "$CI_JOB_NAME" "$CI_NODE_INDEX" "$CI_NODE_TOTAL"`}},
			traces: []string{"\n테스트 2/3:2 of 3\n"},
		},
		{
			name: "a job name in Chinese", job: coordinator.Job{Name: "构建: [镜像]", Stage: "部署", Script: []string{`printf '%s in %s\n' "$CI_JOB_NAME" "$CI_JOB_STAGE"`}},
			traces: []string{"\n构建: [镜像] in 部署\n"},
		},
		{
			name: "feature flags that change scripts",
			job: coordinator.Job{
				Variables: public("FF_POSIXLY_CORRECT_ESCAPES", "true", "FF_SCRIPT_SECTIONS", "true", "FF_ENABLE_BASH_EXIT_CODE_CHECK", "true"),
				Script:    []string{"printf 'flags:%s\\n' '$a \"b\" `c`'", "sh -c 'exit 9'\nprintf '%s-%s\\n' not reached"},
			},
			exit:   9,
			traces: []string{"\nflags:$a \"b\" `c`\n"}, absent: []string{"\nnot-reached"},
		},
	}
}

// sourcesSent are jobs with each way to their sources.
func sourcesSent(sha string) []sent {
	have := []string{`printf 'version:%s\n' "$(cat VERSION 2>/dev/null || echo none)"`}
	return []sent{
		{name: "GIT_STRATEGY clone", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "clone"), Script: have}, traces: []string{"\nversion:1.4.2\n"}},
		{name: "GIT_STRATEGY fetch", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "fetch"), Script: have}, traces: []string{"\nbefore-sources\n", "\nversion:1.4.2\n"}},
		{name: "GIT_STRATEGY none", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "none"), Script: have}, traces: []string{"\nversion:none\n"}},
		{name: "GIT_STRATEGY empty", job: coordinator.Job{SHA: sha, Variables: public("GIT_STRATEGY", "empty"), Script: have}, traces: []string{"\nversion:none\n"}},
		{
			name: "GIT_DEPTH and GIT_CLONE_PATH",
			job: coordinator.Job{SHA: sha, Depth: 1, Variables: public("GIT_CLONE_PATH", "$CI_BUILDS_DIR/else/where"), Script: append([]string{
				`printf 'at:%s\n' "$PWD"`}, have...)},
			traces: []string{"git depth set to 1", "\nat:/builds/else/where\n", "\nversion:1.4.2\n"},
		},
	}
}

// submoduleSent is a job of a branch with a submodule beside the project, by a
// relative URL as GitLab advises.
func (e *env) submoduleSent() sent {
	e.Helper()
	if _, err := gitserver.CreateRepository(filepath.Join(e.repos, "demo", "sub.git"), map[string]string{"inside": "of the submodule\n"}); err != nil {
		e.Fatal(err)
	}
	work := filepath.Join(e.TempDir(), "app")
	git := func(args ...string) string {
		cmd := exec.CommandContext(e.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@localhost", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@localhost")
		out, err := cmd.CombinedOutput()
		if err != nil {
			e.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "-q", filepath.Join(e.repos, "demo", "app.git"), work)
	git("-C", work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../sub.git", "sub")
	git("-C", work, "commit", "-q", "-m", "Add a submodule")
	git("-C", work, "push", "-q", "origin", "HEAD:refs/heads/with-submodule")
	return sent{
		name: "a submodule",
		job: coordinator.Job{
			SHA: git("-C", work, "rev-parse", "HEAD"), Ref: "with-submodule", Variables: public("GIT_SUBMODULE_STRATEGY", "recursive"),
			Script: []string{"cat sub/inside"},
		},
		traces: []string{"\nof the submodule\n"},
	}
}

// stepsSent are jobs with steps, shells and artifacts out of the ordinary.
func stepsSent() []sent {
	return []sent{
		{
			name: "allow_failure:exit_codes", job: coordinator.Job{Script: []string{"exit 137"}}, exit: 137,
			traces: []string{"exit status 137"}, absent: []string{"memory"},
		},
		{
			name: "a step beyond script, and the runner's own scripts",
			job: coordinator.Job{
				Script:      []string{`printf 'script:%s\n' "$PPID" >made`},
				Steps:       []coordinator.Step{{Name: "release", Script: []string{`printf 'released:%s\n' "$(cut -d : -f 1 made)"`}}},
				AfterScript: []string{"true"},
			},
			stages: "config prepare prepare_script get_sources build_script step_release after_script cleanup_file_variables cleanup",
			traces: []string{"\nreleased:script\n", "\nafter-build\n"},
		},
		{
			name: "an image without bash",
			job: coordinator.Job{
				Image:  coordinator.Image{Name: "busybox:1"},
				Script: []string{`command -v bash || printf 'no:%s\n' bash`, `printf 'quoted:%s\n' "it's \"so\" \\ \$1"`, "exit 7"},
			},
			exit:   7,
			traces: []string{"\nno:bash\n", "\nquoted:it's \"so\" \\ $1\n"},
		},
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
			exit: 1, check: checkArtifacts,
		},
	}
}

func checkArtifacts(e *env, id int64) {
	uploads := e.coord.Artifacts(id)
	if len(uploads) != 2 {
		e.Fatalf("%d uploads, want 2", len(uploads))
	}
	archive, report := uploads[0], uploads[1]
	if archive.Type == "junit" {
		archive, report = report, archive
	}
	if got := unzipped(e, archive.Content, "out/a"); got != "kept\n" || archive.ExpireIn != "3 days" || bytes.Contains(archive.Content, []byte("b.tmp")) {
		e.Errorf("the archive holds %q, expires in %q", got, archive.ExpireIn)
	}
	if report.Type != "junit" || report.Format != "gzip" || report.Filename != "report.gz" {
		e.Errorf("the report is a %s in %s, %s", report.Type, report.Format, report.Filename)
	}
}

// TestSent runs one small job for each thing that a runner sends only now and then.
func TestSent(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{
		concurrent:   4,
		secure:       true,
		runnerKeys:   "pre_get_sources_script = \"printf '%s-%s\\\\n' before sources\"\npost_build_script = \"printf '%s-%s\\\\n' after build\"",
		runnerTables: "[runners.custom_build_dir]\nenabled = true",
	})
	e.verifySent(slices.Concat(variablesSent(), sourcesSent(e.sha), stepsSent(), []sent{e.submoduleSent()}))
}

// shell = "sh" has the runner write for sh, which is dash here, and can't read it all.
func TestSentWithShellSh(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 4, keys: "shell = \"sh\"\n"})
	rows := append(variablesSent(), sourcesSent(e.sha)[0])
	e.verifySent(rows)
}

func (e *env) verifySent(rows []sent) {
	e.Helper()
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = e.enqueue(row.job)
	}
	for i, row := range rows {
		e.Run(row.name, func(t *testing.T) { e.in(t).verifyRow(row, ids[i]) })
	}
}

func (e *env) verifyRow(row sent, id int64) {
	result := e.wait(id)
	want := coordinator.Result{State: "success"}
	if row.exit != 0 {
		want = coordinator.Result{State: "failed", FailureReason: "script_failure", ExitCode: row.exit}
	}
	if result.State != want.State || result.FailureReason != want.FailureReason || result.ExitCode != want.ExitCode {
		e.Errorf("the job ended as %s %s with %d, want %+v", result.State, result.FailureReason, result.ExitCode, want)
	}
	if row.stages != "" {
		if got := e.stagesOf(id); got != row.stages {
			e.Errorf("stages:\n%s\nwant:\n%s", got, row.stages)
		}
	}
	for _, text := range row.traces {
		if !bytes.Contains(result.Trace, []byte(text)) {
			e.Errorf("the trace lacks %q", text)
		}
	}
	for _, text := range row.absent {
		if bytes.Contains(result.Trace, []byte(text)) {
			e.Errorf("the trace holds %q", text)
		}
	}
	if row.check != nil {
		row.check(e, id)
	}
}
