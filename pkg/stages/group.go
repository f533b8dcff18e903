package stages

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Names of the two containers that every group has.
const (
	helperContainer = string(remote.Helper)
	buildContainer  = string(remote.Build)
)

const (
	volumeRemote  = "remote"
	volumeControl = "control"
	volumeLogs    = "logs"
	volumeBuilds  = "builds"
	volumeShm     = "shm"
)

// controlSize bounds how much of the group's memory the control volume may take. It holds a
// few scripts, of which the largest that we know of have some megabytes.
const controlSize = "256Mi"

// Tags that every group carries; the first four find the groups of one attempt.
const (
	tagManagedBy = "managed-by"
	tagInstance  = "instance"
	tagRunner    = "runner"
	tagAttempt   = "attempt"
	tagExpiresAt = "expires-at"
	tagProject   = "project"
	tagJob       = "job"
	tagPipeline  = "pipeline"
)

// groupName is ci-<runner>-p<project id>-j<job id>-a<attempt>, at most 128 bytes.
func groupName(cfg *config.Config, job *Job) string {
	rest := fmt.Sprintf("-p%d-j%d-a%s", job.ProjectID, job.ID, job.Attempt)
	runner := label(runnerName(cfg, job))
	return "ci-" + strings.Trim(runner[:min(len(runner), 128-3-len(rest))], "-") + rest
}

func runnerName(cfg *config.Config, job *Job) string {
	return cmp.Or(cfg.RunnerName, job.RunnerID)
}

// label makes a-z0-9- out of any text, never empty.
func label(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "x")
}

// attemptTags are the tags that find the groups of one attempt.
func attemptTags(cfg *config.Config, job *Job) map[string]string {
	return map[string]string{
		tagManagedBy: DriverName,
		tagInstance:  tagValue(job.Instance),
		tagRunner:    tagValue(runnerName(cfg, job)),
		tagAttempt:   job.Attempt,
	}
}

// tagValue keeps a value within the documented limits: 128 characters, none of
// them a scheme that the API refuses.
func tagValue(s string) string {
	s = strings.NewReplacer("http://", "", "https://", "").Replace(s)
	r := []rune(strings.TrimPrefix(s, "acs:"))
	return string(r[:min(len(r), 128)])
}

// deadline is the time after which ECI itself ends the group; cfg has the job's overwrites.
func deadline(cfg *config.Config, job *Job) time.Duration {
	return job.Timeout + cfg.Timeouts.DeadlineExtra + cfg.Debug.KeepOnFailure
}

// deadline is the deadline of the stage's group.
func (s *Stage) deadline() time.Duration {
	cfg, _, _ := withOverwrites(s.Config, s.Job) // prepare has told its mistakes
	return deadline(cfg, s.Job)
}

// groupSpec is the container group of a job. It is pure: the same job,
// configuration and time give the same group. Mistakes of the job's
// author come as a *BuildError.
func groupSpec(cfg *config.Config, job *Job, now time.Time) (eci.GroupSpec, error) {
	cfg, _, overwriteErr := withOverwrites(cfg, job)
	if err := errors.Join(checkAllowed(cfg, job), overwriteErr); err != nil {
		return eci.GroupSpec{}, &BuildError{Message: err.Error()}
	}
	spec := eci.GroupSpec{
		Name:                          groupName(cfg, job),
		VSwitchIDs:                    cfg.VSwitchIDs,
		ScheduleStrategy:              "VSwitchOrdered",
		SecurityGroupID:               cfg.SecurityGroupID,
		ResourceGroupID:               cfg.Group.ResourceGroupID,
		RAMRole:                       cfg.Group.RAMRole,
		CPU:                           cfg.Build.CPU,
		MemoryGiB:                     cfg.Build.Memory.GiB(),
		InstanceTypes:                 cfg.Capacity.InstanceTypes,
		EphemeralStorageGiB:           cfg.Capacity.EphemeralStorage,
		RestartPolicy:                 "Never",
		ActiveDeadlineSeconds:         int64(deadline(cfg, job).Seconds()),
		TerminationGracePeriodSeconds: 1,
		AutoMatchImageCache:           cfg.ImageCache.AutoMatch && cfg.ImageCache.SnapshotID == "",
		ImageSnapshotID:               cfg.ImageCache.SnapshotID,
		PlainHTTPRegistries:           cfg.Pull.PlainHTTP,
		InsecureRegistries:            cfg.Pull.Insecure,
		Sysctls:                       cfg.Group.Sysctls,
		Tags:                          groupTags(cfg, job, now),
		Extra:                         cfg.Group.Request,
	}
	if cfg.VSwitchStrategy == "random" {
		spec.ScheduleStrategy = "VSwitchRandom"
	}
	if cfg.Capacity.Architecture == "arm64" {
		spec.CPUArchitecture = "ARM64"
	}
	setSpot(&spec, cfg.Spot)
	setNetwork(&spec, cfg.Network)
	if err := setContainers(&spec, cfg, job); err != nil {
		return eci.GroupSpec{}, err
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.Image = mirrored(cfg, c.Image)
	}
	var err error
	spec.RegistryCredentials, spec.ACRRegistries, err = pullCredentials(cfg, job, imagesOf(spec))
	return spec, err
}

// imagesOf are those of a group's containers, in their order.
func imagesOf(spec eci.GroupSpec) (images []string) {
	for _, c := range spec.Containers {
		images = append(images, c.Image)
	}
	return images
}

func groupTags(cfg *config.Config, job *Job, now time.Time) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, cfg.Group.Tags)
	maps.Copy(tags, attemptTags(cfg, job))
	tags[tagProject] = strconv.FormatInt(job.ProjectID, 10)
	tags[tagJob] = strconv.FormatInt(job.ID, 10)
	tags[tagPipeline] = tagValue(job.PipelineID)
	tags[tagExpiresAt] = strconv.FormatInt(now.Add(deadline(cfg, job)).Unix(), 10)
	return tags
}

// expiry is the time of the tag expires-at, zero where that is missing or no time.
func expiry(tags map[string]string) time.Time {
	seconds, err := strconv.ParseInt(tags[tagExpiresAt], 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func setSpot(spec *eci.GroupSpec, spot config.Spot) {
	switch spot.Strategy {
	case "as-price-go":
		spec.SpotStrategy = "SpotAsPriceGo"
	case "price-limit":
		spec.SpotStrategy, spec.SpotPriceLimit = "SpotWithPriceLimit", spot.PriceLimit
	default:
		return
	}
	spec.SpotDuration = spot.Duration
}

func setNetwork(spec *eci.GroupSpec, n config.Network) {
	spec.AutoCreateEIP = n.AutoEIP
	if n.AutoEIP {
		spec.EIPBandwidth = n.EIPBandwidth
		spec.EIPBandwidthPackage = n.BandwidthPackage
	}
	spec.EIPID = n.EIPID
	spec.DNSServers = n.DNSServers
	for _, ip := range sortedKeys(n.HostAliases) {
		spec.HostAliases = append(spec.HostAliases, eci.HostAlias{IP: ip, Hostnames: n.HostAliases[ip]})
	}
}
