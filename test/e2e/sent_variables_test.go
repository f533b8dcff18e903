package e2e

import (
	"strings"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

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
			name: "environment of the runner",
			job:  coordinator.Job{Variables: public("WHO", "job"), Script: []string{`printf 'from:%s for %s\n' "$FROM_RUNNER" "$WHO"`}},
			// The job's own go over the runner's.
			traces: []string{"\nfrom:the runner for job\n"},
		},
		{
			name: "a feature flag of config.toml", job: coordinator.Job{Variables: public("FF_TIMESTAMPS", "true"), Script: []string{`printf 'flag:%s\n' "$FF_TIMESTAMPS"`}},
			traces: []string{"\nflag:false\n"}, // that it is off there is what all the other cases go by
		},
	}
}
