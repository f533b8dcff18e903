package stages

import (
	"fmt"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
)

// The variables by which a job asks for something that the driver's file allows.
const (
	variableCPU    = "ECI_CPU"
	variableMemory = "ECI_MEMORY"
	variableKeep   = "ECI_KEEP_ON_FAILURE"
)

// ignored are lines for the job's log about what it asks for and its runner leaves
// to nobody.
func ignored(cfg *config.Config, job *Job) (lines []string) {
	for _, v := range []struct {
		name, key string
		allowed   bool
	}{
		{variableCPU, "[allow] max_cpu", cfg.Allow.MaxCPU > 0},
		{variableMemory, "[allow] max_memory", cfg.Allow.MaxMemory > 0},
		{variableKeep, "[debug] keep_on_failure", cfg.Debug.KeepOnFailure > 0},
	} {
		if job.Variable(v.name) != "" && !v.allowed {
			lines = append(lines, fmt.Sprintf("%s is ignored: %s of this runner is not set", v.name, v.key))
		}
	}
	return lines
}

// buildSize is the group's size: the runner's, or what the job asks for within
// the operator's maximum. As in the Kubernetes executor a value above it fails
// the job instead of being cut.
func buildSize(cfg *config.Config, job *Job) (cpu, memoryGiB float64, err error) {
	cpu, memoryGiB = cfg.Build.CPU, cfg.Build.Memory.GiB()
	if v := job.Variable(variableCPU); v != "" && cfg.Allow.MaxCPU > 0 {
		if _, err := fmt.Sscanf(v, "%g", &cpu); err != nil || cpu <= 0 {
			return 0, 0, buildErrorf("ECI_CPU %q is not a number of vCPU such as 2 or 0.5", v)
		}
		if cpu > cfg.Allow.MaxCPU {
			return 0, 0, buildErrorf("ECI_CPU %s is above the maximum of this runner, %g", v, cfg.Allow.MaxCPU)
		}
	}
	if v := job.Variable(variableMemory); v != "" && cfg.Allow.MaxMemory > 0 {
		var size config.Size
		if err := size.UnmarshalText([]byte(v)); err != nil || size <= 0 {
			return 0, 0, buildErrorf("ECI_MEMORY %q is not a size such as 4GiB", v)
		}
		if size > cfg.Allow.MaxMemory {
			return 0, 0, buildErrorf("ECI_MEMORY %s is above the maximum of this runner, %g GiB", v, cfg.Allow.MaxMemory.GiB())
		}
		memoryGiB = size.GiB()
	}
	return cpu, memoryGiB, nil
}

// keepTime is how long the job's group is to be kept after a failure, 0 for not
// at all. A value above the operator's fails the job instead of being cut.
func keepTime(cfg *config.Config, job *Job) (time.Duration, error) {
	most, v := cfg.Debug.KeepOnFailure, job.Variable(variableKeep)
	if most == 0 || v == "" {
		return most, nil
	}
	if v == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	switch {
	case err != nil || d < 0:
		return 0, buildErrorf("%s %q is no duration such as \"30m\" or \"1h30m\"", variableKeep, v)
	case d > most:
		return 0, buildErrorf("%s %s is above the maximum of this runner, %s ([debug] keep_on_failure)", variableKeep, v, most)
	}
	return d, nil
}
