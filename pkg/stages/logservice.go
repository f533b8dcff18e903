package stages

import (
	"cmp"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// ECI's log agent is told by environment variables what to collect (sources.md: log-service).
// What jobs print is in files of the logs volume, which helper has too; what a service
// prints is its stdout. The agent is late, and may miss the end of a short job: it
// archives, and nothing of ours depends on it.
const (
	logServicePrefix = "aliyun_logs_"
	logServiceName   = "eci_executor" // of the collection, where the driver's file has none
)

// collect adds the variables to helper and services.
func collect(spec *eci.GroupSpec, cfg *config.Config) {
	settings := cfg.Group.LogService
	if len(settings) == 0 {
		return
	}
	key := logServicePrefix + cmp.Or(settings["name"], logServiceName)
	for i := range spec.Containers {
		c := &spec.Containers[i]
		what := "stdout"
		switch c.Name {
		case helperContainer:
			what = remote.LogDir + "/*.log"
		case buildContainer:
			continue // its scripts write there too
		}
		c.Env = append(c.Env, eci.EnvVar{Name: key, Value: what})
		for _, setting := range sortedKeys(settings) {
			if setting != "name" {
				c.Env = append(c.Env, eci.EnvVar{Name: key + "_" + setting, Value: settings[setting]})
			}
		}
	}
}
