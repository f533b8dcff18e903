package e2e

import "github.com/eci-executor/eci-executor/test/e2e/coordinator"

// stepsSent are jobs with steps and images out of the ordinary.
func stepsSent(sha string) []sent {
	return []sent{
		{
			name: "allow_failure:exit_codes", job: coordinator.Job{Script: []string{"exit 137"}}, exit: 137, // as of a killed one
			traces: []string{"exit status 137"}, absent: []string{"memory"},
		},
		{
			name: "release, and a step that no runner knows",
			job: coordinator.Job{
				Script: []string{`printf 'script:%s\n' "$PPID" >made`},
				Steps: []coordinator.Step{
					{Name: "release", Script: []string{`printf 'released:%s\n' "$(cut -d : -f 1 made)"`}},
					{Name: "검사/Later", Script: []string{`printf 'later:%s\n' "$(id -u)"`}},
				},
				AfterScript: []string{"true"},
			},
			stages: "config prepare prepare_script get_sources build_script step_release step_검사/later after_script cleanup_file_variables cleanup",
			traces: []string{"\nreleased:script\n", "\nlater:0\n"},
		},
		{
			name: "the runner's and the job's own scripts",
			job: coordinator.Job{
				SHA: sha, Hooks: []coordinator.Hook{{Name: "pre_get_sources_script", Script: []string{`printf '%s-%s\n' hook "$CI_JOB_STAGE"`}}},
				Script: []string{`printf '%s-%s\n' the script`},
			},
			traces: []string{"\nbefore-sources\n", "\nhook-test\n", "\nafter-sources\n", "\nbefore-build\n", "\nthe-script\n", "\nafter-build\n"},
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
			name: "dash as the only shell",
			job: coordinator.Job{
				Image: coordinator.Image{Name: "dash:1"}, Variables: public("FF_POSIXLY_CORRECT_ESCAPES", "true"),
				Script: []string{`command -v bash || printf 'no:%s\n' bash`, `printf 'quoted:%s\n' "it's \"so\" \$1"`, "exit 7"},
			},
			exit:   7,
			traces: []string{"\nno:bash\n", "\nquoted:it's \"so\" $1\n"},
		},
		{
			name: "an image with a user of its own",
			job: coordinator.Job{
				SHA: sha, Image: coordinator.Image{Name: "nobody:1"},
				Variables: []coordinator.Variable{{Key: "SETTINGS", Value: "for all", File: true}},
				Script: []string{
					`printf 'is:%s reads:%s\n' "$(id -un)" "$(cat "$SETTINGS")"`,
					`echo more >>VERSION && mkdir -p target && echo made >target/out && echo "WORD=kept" >>"$GITLAB_ENV"`,
					`printf 'status:%s\n' "$(git status --short | tr '\n' ' ')"`, "git fetch -q origin main",
				},
				AfterScript: []string{`printf 'after:%s %s\n' "$WORD" "$(cat target/out)"`},
				Artifacts:   []coordinator.Artifacts{{Paths: []string{"target/"}}},
				Cache:       []coordinator.Cache{{Key: "nobody", Paths: []string{"target/"}, Policy: "pull-push", When: "always"}},
			},
			traces: []string{"\nis:nobody reads:for all\n", "\nstatus: M VERSION ?? target/ \n", "\nafter:kept made\n", "Created cache"},
			check:  uploads(upload{"archive", "zip", "artifacts.zip", "", []string{"target/", "target/out"}}),
		},
		{
			name: "git of another user, without tokens in URLs",
			job: coordinator.Job{
				SHA: sha, Image: coordinator.Image{Name: "nobody:1"}, Variables: public("FF_GIT_URLS_WITHOUT_TOKENS", "true"),
				Script: []string{
					"git fetch -q origin main", `git config --global user.name nobody && printf 'name:%s\n' "$(git config user.name)"`,
					`cd /tmp && git clone -q "$CI_SERVER_URL/demo/app.git" && printf 'version:%s\n' "$(cat app/VERSION)"`,
				},
			},
			traces: []string{"\nname:nobody\n", "\nversion:1.4.2\n"},
		},
	}
}
