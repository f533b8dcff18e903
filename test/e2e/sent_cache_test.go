package e2e

import "github.com/eci-executor/eci-executor/test/e2e/coordinator"

// cacheSent are jobs with the keyword cache, in the order in which they take place.
func cacheSent(sha string) []sent {
	job := func(cache coordinator.Cache, script ...string) coordinator.Job {
		return coordinator.Job{SHA: sha, Cache: []coordinator.Cache{cache}, Script: script}
	}
	deps := []string{"deps/"}
	return []sent{
		{
			name: "cache:policy pull-push",
			job: job(coordinator.Cache{Key: "$CI_COMMIT_REF_NAME-캐시", Paths: deps, Policy: "pull-push", When: "on_success"},
				"test ! -e deps", "mkdir deps && echo cached >deps/lib"),
			traces: []string{"Created cache"},
		},
		{
			name: "cache:fallback_keys, policy pull", after: []string{"cache:policy pull-push"},
			job: job(coordinator.Cache{Key: "feature", FallbackKeys: []string{"none", "$CI_COMMIT_REF_NAME-캐시"}, Paths: deps, Policy: "pull", When: "on_success"},
				`printf 'cache:%s\n' "$(cat deps/lib)"`),
			traces: []string{"\ncache:cached\n", "Successfully extracted cache", "Not uploading cache feature due to policy"},
		},
		{
			name: "cache:when on_failure, untracked",
			job: job(coordinator.Cache{Key: "failed", Untracked: true, Policy: "push", When: "on_failure"},
				"echo of the failed job >log", "exit 3"),
			exit: 3, traces: []string{"Created cache", "Not downloading cache failed due to policy"},
		},
		{
			name: "the cache of a failed job", after: []string{"cache:when on_failure, untracked"},
			job:    job(coordinator.Cache{Key: "failed", Untracked: true, Policy: "pull", When: "on_success"}, `printf 'cache:%s\n' "$(cat log)"`),
			traces: []string{"\ncache:of the failed job\n"},
		},
	}
}
