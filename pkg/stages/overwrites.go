package stages

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// overwrite is a value of the driver's file that a job may overwrite by a variable, within
// what the file allows. As in the Kubernetes executor (sources.md: runner; its
// overwrites.go) a variable is ignored where the file allows it to nobody, and a value
// above the maximum fails the job instead of being cut down.
type overwrite struct {
	names   []string                 // of the variable; the first that is set counts
	key     string                   // of the driver's file, which allows it
	allowed bool                     // that key is set
	take    func(value string) error // puts the value into the configuration, or says what is wrong with it
}

// overwrites are all those of a group. They change cfg when they are taken.
func overwrites(cfg *config.Config) []overwrite {
	a := cfg.Allow
	size := func(container string, cpu *float64, memory *config.Size) []overwrite {
		return sizeOverwrites(a, container, cpu, memory)
	}
	return slices.Concat(
		size("", &cfg.Build.CPU, &cfg.Build.Memory),
		size("HELPER_", &cfg.Helper.CPU, &cfg.Helper.Memory),
		size("SERVICE_", &cfg.Service.CPU, &cfg.Service.Memory),
		[]overwrite{
			{[]string{"ECI_EPHEMERAL_STORAGE"}, "[allow] max_ephemeral_storage", a.MaxEphemeralStorage > 0,
				func(v string) error { return takeStorage(&cfg.Capacity.EphemeralStorage, v, 0, a.MaxEphemeralStorage) }},
			{[]string{"KUBERNETES_EPHEMERAL_STORAGE_LIMIT", "KUBERNETES_EPHEMERAL_STORAGE_REQUEST"}, "[allow] max_ephemeral_storage", a.MaxEphemeralStorage > 0,
				func(v string) error {
					return takeStorage(&cfg.Capacity.EphemeralStorage, v, freeStorage, a.MaxEphemeralStorage)
				}},
			{[]string{"ECI_INSTANCE_TYPES"}, "[allow] instance_types", len(a.InstanceTypes) > 0,
				func(v string) error { return takeTypes(&cfg.Capacity.InstanceTypes, v, a.InstanceTypes) }},
			{[]string{"ECI_SPOT"}, "[allow] spot", len(a.Spot) > 0, func(v string) error { return takeSpot(&cfg.Spot, v, a.Spot) }},
			{[]string{"ECI_RAM_ROLE"}, "[allow] ram_roles", len(a.RAMRoles) > 0,
				func(v string) error { return takeOneOf(&cfg.Group.RAMRole, v, a.RAMRoles) }},
			{[]string{"ECI_KEEP_ON_FAILURE"}, "[debug] keep_on_failure", cfg.Debug.KeepOnFailure > 0,
				func(v string) error { return takeKeep(&cfg.Debug.KeepOnFailure, v) }},
		})
}

// sizeOverwrites are those of the size of a kind of container: "" is build, "HELPER_" and
// "SERVICE_" the others. Of Kubernetes' two variables the limit comes first: an ECI group
// has all that it may use from the start.
func sizeOverwrites(a config.Allow, container string, cpu *float64, memory *config.Size) []overwrite {
	names := func(resource string) []string {
		return []string{"ECI_" + container + resource, "KUBERNETES_" + container + resource + "_LIMIT", "KUBERNETES_" + container + resource + "_REQUEST"}
	}
	return []overwrite{
		{names("CPU"), "[allow] max_cpu", a.MaxCPU > 0, func(v string) error { return takeCPU(cpu, v, a.MaxCPU) }},
		{names("MEMORY"), "[allow] max_memory", a.MaxMemory > 0, func(v string) error { return takeMemory(memory, v, a.MaxMemory) }},
	}
}

// withOverwrites is cfg with what the job's variables and images ask for. lines say, for the
// job's log, what is ignored. The error, a *BuildError, has a line for each mistake.
func withOverwrites(cfg *config.Config, job *Job) (with *config.Config, lines []string, err error) {
	copied := *cfg
	lines, mistakes := grant(overwrites(&copied), job.Variable)
	for _, image := range append([]Image{job.Image}, job.Services...) {
		switch {
		case image.User == "":
		case len(cfg.Allow.Users) == 0:
			lines = append(lines, fmt.Sprintf("the user %q of image %s is ignored: [allow] users of this runner is not set", image.User, image.Name))
		case image.DockerUser && !slices.Contains(cfg.Allow.Users, image.User):
			lines = append(lines, fmt.Sprintf("the user %q of image %s is ignored: [allow] users of this runner does not have it", image.User, image.Name))
		}
	}
	return &copied, append(lines, leftOut(job)...), mistakes
}

// withServiceOverwrites is the size of one service, whose own variables go over the job's.
func withServiceOverwrites(cfg *config.Config, service Image) (config.Service, error) {
	size := cfg.Service
	_, err := grant(sizeOverwrites(cfg.Allow, "SERVICE_", &size.CPU, &size.Memory), service.own)
	return size, err
}

// grant takes those whose variable is set and that are allowed.
func grant(all []overwrite, variable func(string) string) (lines []string, err error) {
	var mistakes []string
	for _, o := range all {
		i := slices.IndexFunc(o.names, func(name string) bool { return variable(name) != "" })
		if i < 0 {
			continue
		}
		name, value := o.names[i], variable(o.names[i])
		if !o.allowed {
			lines = append(lines, fmt.Sprintf("%s is ignored: %s of this runner is not set", name, o.key))
			continue
		}
		if err := o.take(withUnit(name, value)); err != nil {
			mistakes = append(mistakes, fmt.Sprintf("%s %q %v", name, value, err))
		}
	}
	if len(mistakes) > 0 {
		return lines, &BuildError{Message: strings.Join(mistakes, "\n")}
	}
	return lines, nil
}

// withUnit gives a size in bytes its unit: Kubernetes takes every size without one for
// bytes. One that no container could live in is left to be told as a mistake.
func withUnit(name, value string) string {
	bytes, err := strconv.ParseUint(value, 10, 63)
	if err != nil || bytes < 1<<20 || !strings.HasPrefix(name, "KUBERNETES_") || strings.Contains(name, "_CPU_") {
		return value
	}
	return strconv.FormatFloat(float64(bytes)/1024, 'f', -1, 64) + "Ki"
}

// asksForSize tells whether the job has any say in the group's size, so that its author
// has to answer for one that ECI does not have.
func asksForSize(job *Job) bool {
	var none config.Config
	return slices.ContainsFunc(overwrites(&none), func(o overwrite) bool {
		return o.key != "[debug] keep_on_failure" && slices.ContainsFunc(o.names, func(name string) bool { return job.Variable(name) != "" })
	})
}

func takeCPU(to *float64, value string, most float64) error {
	number, divisor := value, 1.0
	if milli, ok := strings.CutSuffix(value, "m"); ok {
		number, divisor = milli, 1000
	}
	cpu, err := strconv.ParseFloat(number, 64)
	cpu /= divisor
	switch {
	case err != nil || cpu <= 0 || math.IsInf(cpu, 0) || math.IsNaN(cpu):
		return errors.New("is no number of vCPU such as 2, 0.5 or 500m")
	case cpu > most:
		return fmt.Errorf("is above the maximum of this runner, %g", most)
	}
	*to = cpu
	return nil
}

func takeMemory(to *config.Size, value string, most config.Size) error {
	size, err := config.ParseSize(value)
	switch {
	case err != nil:
		return err
	case size <= 0:
		return errors.New("must be more than 0")
	case size > most:
		return fmt.Errorf("is above the maximum of this runner, %g GiB", most.GiB())
	}
	*to = size
	return nil
}

// freeStorage is the disk that each group has without asking, in GiB
// (sources.md: storage).
const freeStorage = 30

// takeStorage reads a number of GiB, or a size with its unit. free is what of it the group
// has without asking; free and most are GiB.
func takeStorage(to *int, value string, free, most int) error {
	gib, err := strconv.ParseFloat(value, 64)
	if size, sizeErr := config.ParseSize(value); sizeErr == nil {
		gib, err = size.GiB(), nil
	}
	extra := math.Max(0, math.Ceil(gib)-float64(free))
	switch {
	case err != nil || gib < 0 || math.IsNaN(gib):
		return errors.New("is no number of GiB such as 20 or 20Gi")
	case extra > float64(most):
		return fmt.Errorf("is above the maximum of this runner, %d GiB", free+most)
	}
	*to = int(extra)
	return nil
}

func takeTypes(to *[]string, value string, allowed []string) error {
	var types []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("names %q, which is not allowed on this runner; allowed are %s", name, strings.Join(allowed, ", "))
		}
		types = append(types, name)
	}
	if _, ok := eci.GPUsOfAll(types); !ok {
		return errors.New("names types with GPUs and others, which ECI takes only apart")
	}
	*to = types
	return nil
}

func takeSpot(to *config.Spot, value string, allowed []string) error {
	if value == "price-limit" && to.PriceLimit <= 0 {
		return errors.New("needs a price_limit in [spot] of this runner, which has none")
	}
	return takeOneOf(&to.Strategy, value, allowed)
}

func takeOneOf(to *string, value string, allowed []string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("is not allowed on this runner; allowed are %s", strings.Join(allowed, ", "))
	}
	*to = value
	return nil
}

// takeKeep reads how long a failed job's group is kept; "0" is not at all.
func takeKeep(to *time.Duration, value string) error {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil || d < 0:
		return errors.New(`is no duration such as "30m" or "1h30m"`)
	case d > *to:
		return fmt.Errorf("is above the maximum of this runner, %s ([debug] keep_on_failure)", *to)
	}
	*to = d
	return nil
}

// runAs is the user that an image is to run as, nil for the image's own. ECI takes
// numbers alone (sources.md: security-context).
func runAs(cfg *config.Config, image Image) (uid, gid *int64, err error) {
	if image.User == "" || len(cfg.Allow.Users) == 0 {
		return nil, nil, nil
	}
	if !slices.Contains(cfg.Allow.Users, image.User) {
		if image.DockerUser { // withOverwrites tells
			return nil, nil, nil
		}
		return nil, nil, buildErrorf("user %q of image %s is not allowed on this runner; allowed are %s", image.User, image.Name, strings.Join(cfg.Allow.Users, ", "))
	}
	user, group, hasGroup := strings.Cut(image.User, ":")
	if uid, err = id(user); err == nil && hasGroup {
		gid, err = id(group)
	}
	if err != nil {
		return nil, nil, buildErrorf("user %q of image %s must be numbers, uid or uid:gid: ECI knows no names", image.User, image.Name)
	}
	return uid, gid, nil
}

func id(text string) (*int64, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	return &n, err
}
