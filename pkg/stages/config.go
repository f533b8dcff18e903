package stages

import (
	"encoding/json"
	"fmt"
	"io"

	"gitlab.com/gitlab-org/gitlab-runner/executors/custom/api"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// DriverName is what the job's log calls the driver.
const DriverName = "eci-executor"

// Configure is the config stage: it writes the one JSON document that the runner reads
// (sources.md: custom-executor) and makes no API call. Where builds_dir is on a NAS it says
// that the directory is shared: the runner then gives each concurrent job of a project a
// directory of its own there, and fetches into the checkout that it finds.
func Configure(cfg *config.Config, version string, stdout io.Writer) error {
	name := DriverName
	shared := nasmount.At(cfg.NAS, cfg.BuildsDir) != nil
	env := map[string]string{AttemptVariable: randomHex(4)}
	document := api.ConfigExecOutput{
		Driver:            &api.DriverInfo{Name: &name, Version: &version},
		BuildsDir:         &cfg.BuildsDir,
		CacheDir:          &cfg.CacheDir,
		BuildsDirIsShared: &shared,
		JobEnv:            &env,
		Shell:             &cfg.Shell,
	}
	if err := json.NewEncoder(stdout).Encode(document); err != nil {
		return fmt.Errorf("writing the configuration for the runner: %w", err)
	}
	return nil
}
