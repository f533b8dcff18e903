package stages_test

import (
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// ECI's log agent gets what a job's scripts and its services print, by the variables
// that it reads, and to the logstore that the driver's file names.
func TestLogService(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "ci_logs"} {
		t.Run("name "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{})
			w.config.Group.LogService = config.Params{"project": "ci", "logstore": "jobs", "ttl": "7"}
			if name != "" {
				w.config.Group.LogService["name"] = name
			}
			w.job(t, map[string]any{"services": []map[string]any{service("db", "echo the service speaks; exec sleep 600", nil)}})
			w.mustPrepare(t)
			for _, stage := range [][2]string{{"get_sources", "echo helper speaks"}, {"step_script", "echo build speaks; env | grep -c '^aliyun_logs' || true"}} {
				if log, err := w.run(t, stage[0], stage[1]); err != nil || !strings.Contains(log, " speaks\n") {
					t.Errorf("%q, %v", log, err)
				}
			}
			w.serviceLog(t, "db", "the service speaks\n")
			w.mustCleanup(t)
			w.awaitNoGroups(t)
			got := map[string]string{}
			for _, c := range w.server.Collected("ci", "jobs") {
				got[c.Container] += c.Text
			}
			if len(got) != 2 || !strings.Contains(got["db"], "the service speaks\n") ||
				!strings.Contains(got["helper"], "helper speaks\n") || !strings.Contains(got["helper"], "build speaks\n0\n") {
				t.Errorf("Log Service has %q", got)
			}
			if other := w.server.Collected("", "jobs"); len(other) > 0 {
				t.Errorf("another project has %q", other)
			}
		})
	}
}
