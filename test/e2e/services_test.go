package e2e

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// serverImages are redis:7 and postgres:15 above the host's own root, where Debian's
// packages redis-server and postgresql are installed; without them the test is
// skipped, in CI it fails.
func serverImages(t *testing.T) map[string]ecitest.Image {
	t.Helper()
	databases, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	_, redisErr := exec.LookPath("redis-server")
	if err != nil || redisErr != nil || len(databases) == 0 {
		const text = "redis-server and postgresql are not installed: apt-get install redis-server postgresql"
		testneed.Need(t, errors.New(text))
	}
	redis, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	redis.Cmd = []string{"redis-server", "--save", "", "--dir", "/tmp"}
	top := t.TempDir()
	postgres, err := ecitest.HostImage(top)
	if err != nil {
		t.Fatal(err)
	}
	if err := copyFile(filepath.Join("testdata", "postgres.sh"), filepath.Join(top, "usr/local/bin/entrypoint")); err != nil {
		t.Fatal(err)
	}
	postgres.Entrypoint, postgres.Cmd = []string{"/usr/local/bin/entrypoint"}, nil
	postgres.User = "postgres" // it refuses to run as root
	return map[string]ecitest.Image{"redis:7": redis, "postgres:15": postgres}
}

// A job uses real servers by two aliases each and by the names of their images. They
// are ready when its script begins, and their logs are in its own, secrets masked.
func TestRealServers(t *testing.T) {
	needContainers(t)
	t.Parallel()
	e := newDriverEnv(t, driverSetup{concurrent: 1, images: serverImages(t)})
	result := e.mustSucceed(e.enqueue(coordinator.Job{
		SHA: e.sha,
		Variables: []coordinator.Variable{{Key: "DB_PASSWORD", Value: "s3cret-passw0rd", Masked: true}, {Key: "CI_DEBUG_SERVICES", Value: "true", Public: true},
			{Key: "PGPASSWORD", Value: "$DB_PASSWORD"}, {Key: "PGUSER", Value: "app"}},
		Services: []coordinator.Image{
			{Name: "redis:7", Alias: "cache,queue", Variables: []coordinator.Variable{{Key: "HEALTHCHECK_TCP_PORT", Value: "6379"}}},
			{Name: "postgres:15", Alias: "db pg", Variables: []coordinator.Variable{{Key: "POSTGRES_PASSWORD", Value: "$DB_PASSWORD"},
				{Key: "POSTGRES_USER", Value: "$PGUSER"}, {Key: "HEALTHCHECK_TCP_PORT", Value: "5432"}}},
		},
		Script: []string{
			`redis-cli -h cache set word greeting`,
			`printf 'redis has a %s\n' "$(redis-cli -h queue get word)"`,
			`printf 'redis says %s\n' "$(redis-cli -h redis ping)"`,
			`psql -h db -d postgres -Atc 'create table numbers (n int)' -c 'insert into numbers values (41), (1)'`,
			`printf 'postgres has %s\n' "$(psql -h pg -d postgres -Atc 'select sum(n) from numbers')"`,
			`printf 'postgres says %s\n' "$(psql -h postgres -d postgres -Atc "select 'user ' || current_user")"`,
		},
	}))
	for _, text := range []string{
		"waiting for TCP connection to localhost on [6379 5432]", "dial succeeded on localhost:6379. Exiting...", "dial succeeded on localhost:5432. Exiting...",
		"\nredis has a greeting\n", "\nredis says PONG\n", "\npostgres has 42\n", "\npostgres says user app\n",
		"[service:db] initialized as postgres for app with password [MASKED]", "[service:cache] ",
	} {
		if !bytes.Contains(result.Trace, []byte(text)) {
			t.Errorf("the trace lacks %q", text)
		}
	}
	if bytes.Contains(result.Trace, []byte("s3cret-passw0rd")) {
		t.Error("the trace holds the masked password")
	}
}
