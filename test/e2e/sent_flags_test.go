package e2e

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/gitlab-org/gitlab-runner/helpers/featureflags"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// flagsSent are jobs with the other value of each feature flag that is heeded in the
// group, and before them one of each kind with all the defaults.
func flagsSent(branch string) []sent {
	kinds := map[string]sent{inScript: flagsInScript(), inSources: flagsInSources(branch), inTransfers: flagsInTransfers()}
	var rows []sent
	for _, kind := range []string{inScript, inSources, inTransfers} {
		row := kinds[kind]
		row.name = "feature flags, the defaults: " + kind
		rows = append(rows, row)
	}
	defaults := map[string]bool{}
	for _, f := range featureflags.GetAll() {
		defaults[f.Name] = f.DefaultValue
	}
	for _, f := range featureFlags() {
		if f.kind == "" {
			continue
		}
		row := kinds[f.kind]
		value := strconv.FormatBool(!defaults[f.name])
		row.name = f.name + " " + value
		row.job.Variables = append(public(f.name, value), row.job.Variables...)
		row.traces, row.absent = seen(f.name, row)
		if f.name == "FF_USE_LEGACY_BASH_EVAL" {
			row.exit = 1
		}
		rows = append(rows, row)
	}
	return rows
}

// cacheKeysOfFlags are the keys of the caches that these jobs leave.
func cacheKeysOfFlags() map[string]string {
	hashed := fmt.Sprintf("%x", sha256.Sum256([]byte("of job")))
	return map[string]string{"of runners/project/1/of job": "of job", "of runners/project/1/" + hashed[:2] + "/" + hashed: "of job"}
}

// seen is what the trace holds, and lacks, with the flag's other value.
func seen(flag string, row sent) (traces, absent []string) {
	shows := map[string]string{ // with that value alone
		"FF_NETWORK_PER_BUILD":              "\nnetwork:runner-",
		"FF_SCRIPT_SECTIONS":                ":section_script_step_2[hide_duration=true,collapsed=true]",
		"FF_USE_PARALLEL_CACHE_TRANSFER":    "(parallel)",
		"FF_USE_PARALLEL_ARTIFACT_TRANSFER": "using single download stream", // because it is small
		"FF_GIT_URLS_WITHOUT_TOKENS":        "\ntokens:0\n",
	}
	hides := map[string]string{ // with that value alone
		"FF_USE_DIRECT_DOWNLOAD":       "Direct download from",
		"FF_USE_GITALY_CORRELATION_ID": "Gitaly correlation ID",
		"FF_USE_GIT_BUNDLE_URIS":       "\nbundle:true\n",
		"FF_GIT_URLS_WITHOUT_TOKENS":   "\ntokens:2\n",
		"FF_NETWORK_PER_BUILD":         "\nnetwork:\n",
		"FF_SCRIPT_SECTIONS":           "# collapsed multi-line command",
	}
	for _, text := range row.traces {
		if text != hides[flag] {
			traces = append(traces, text)
		}
	}
	for _, text := range row.absent {
		if text != shows[flag] {
			absent = append(absent, text)
		}
	}
	if text := shows[flag]; text != "" {
		traces = append(traces, text)
	}
	if text := hides[flag]; text != "" {
		absent = append(absent, text)
	}
	return traces, absent
}

// flagsAtOnce is for shell = "sh".
func flagsAtOnce() sent {
	return sent{
		name: "three feature flags at once",
		job: coordinator.Job{
			Variables: public("FF_POSIXLY_CORRECT_ESCAPES", "true", "FF_SCRIPT_SECTIONS", "true", "FF_ENABLE_BASH_EXIT_CODE_CHECK", "true"),
			Script:    []string{"printf 'flags:%s\\n' '$a \"b\" `c`'", "sh -c 'exit 9'\nprintf '%s-%s\\n' not reached"},
		},
		exit:   9,
		traces: []string{"\nflags:$a \"b\" `c`\n"}, absent: []string{"\nnot-reached"},
	}
}

func flagsInScript() sent {
	return sent{
		job: coordinator.Job{
			Script: []string{
				"printf 'quoted:%s\\n' '$a \"b\" `c` \\n'", `printf 'network:%s\n' "$CI_BUILD_NETWORK_NAME"`,
				"printf 'stdin:%s\\n' \"$(cat)\"\nprintf '%s-%s\\n' both lines", "sh -c 'exit 9'\nprintf '%s-%s\\n' not reached",
			},
			AfterScript: []string{`printf 'after:%s\n' "$CI_JOB_STATUS"`},
		},
		exit:   9,
		traces: []string{"\nquoted:$a \"b\" `c` \\n\n", "\nstdin:\n", "\nboth-lines\n", "\nnetwork:\n", "\nafter:failed\n", "# collapsed multi-line command"},
		absent: []string{"\nnot-reached", ":section_script_step_2[hide_duration=true,collapsed=true]", "\nnetwork:runner-"},
	}
}

func flagsInSources(branch string) sent {
	return sent{
		job: coordinator.Job{
			SHA: branch, Ref: "with-submodule", Variables: public("GIT_STRATEGY", "clone", "GIT_SUBMODULE_STRATEGY", "recursive"),
			Script: []string{
				`printf 'have:%s %d\n' "$(cat VERSION)" "$(wc -c <sub/large.bin)"`, "git fetch -q origin main",
				`printf 'tokens:%d\n' "$(git config --list | grep -c job-token || true)"`, `printf 'bundle:%s\n' "$(git config transfer.bundleURI)"`,
			},
		},
		stages: "config prepare prepare_script get_sources build_script cleanup_file_variables cleanup",
		traces: []string{"\nhave:1.4.2 300000\n", "\ntokens:2\n", "\nbundle:true\n", "Gitaly correlation ID"},
		absent: []string{"\ntokens:0\n"},
	}
}

func flagsInTransfers() sent {
	return sent{
		after: []string{"cache:policy pull-push", "artifacts of a passed job"},
		job: coordinator.Job{
			Variables: public("GIT_STRATEGY", "empty", "CACHE_CHUNK_SIZE", "64", "CACHE_CONCURRENCY", "2"),
			Cache: []coordinator.Cache{
				{Key: "main-캐시", Paths: []string{"deps/"}, Policy: "pull", When: "always"},
				{Key: "of $CI_JOB_NAME", Paths: []string{"deps/"}, Policy: "push", When: "always"},
			},
			Script:    []string{`printf 'have:%s %s\n' "$(cat deps/lib)" "$(cat "build/libs of app/이름.txt")"`, "echo more >deps/more"},
			Artifacts: []coordinator.Artifacts{{Paths: []string{"deps/"}}},
		},
		traces: []string{"\nhave:cached 한국어\n", "Successfully extracted cache", "Created cache", "Direct download from"},
		absent: []string{"(parallel)", "using single download stream"},
		check:  uploads(upload{"archive", "zip", "artifacts.zip", "", strings.Fields("deps/ deps/lib deps/more")}),
	}
}
