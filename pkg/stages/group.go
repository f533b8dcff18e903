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
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
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

// controlSize bounds what a job can put into the group's memory there: a few
// scripts, of which the largest that we know of are some megabytes.
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
	return firstOf(cfg.RunnerName, job.RunnerID)
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
	return firstOf(strings.Trim(b.String(), "-"), "x")
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

// deadline is after how long ECI itself ends the group.
func deadline(cfg *config.Config, job *Job) time.Duration {
	return job.Timeout + cfg.Timeouts.DeadlineExtra + cfg.Debug.KeepOnFailure
}

// groupSpec is the container group of a job (design, section 5). It is pure: the
// same job, configuration and time give the same group. Mistakes of the job's
// author come as a *BuildError.
func groupSpec(cfg *config.Config, job *Job, now time.Time) (eci.GroupSpec, error) {
	cfg, _, wishErr := withWishes(cfg, job)
	if err := errors.Join(checkAllowed(cfg, job), wishErr); err != nil {
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
	var images []string
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.Image = mirrored(cfg, c.Image)
		images = append(images, c.Image)
	}
	var err error
	spec.RegistryCredentials, spec.ACRRegistries, err = pullCredentials(cfg, job, images)
	return spec, err
}

func groupTags(cfg *config.Config, job *Job, now time.Time) map[string]string {
	tags := map[string]string{}
	for k, v := range cfg.Group.Tags {
		tags[k] = v
	}
	for k, v := range attemptTags(cfg, job) {
		tags[k] = v
	}
	tags[tagProject] = strconv.FormatInt(job.ProjectID, 10)
	tags[tagJob] = strconv.FormatInt(job.ID, 10)
	tags[tagPipeline] = job.PipelineID
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

// setContainers adds helper, build, the services and the volumes they mount.
func setContainers(spec *eci.GroupSpec, cfg *config.Config, job *Job) error {
	mounts, err := nasmount.Expand(cfg.NAS, nasmount.Values{
		ProjectPath: job.ProjectPath, ProjectID: strconv.FormatInt(job.ProjectID, 10), RefProtected: job.RefProtected,
		ConcurrentID: job.Slot})
	if err != nil {
		return err
	}
	nasVolumes, nasMounts := nasmount.Volumes(mounts)
	spec.Volumes = append(ownVolumes(cfg), nasVolumes...)
	common := []eci.VolumeMount{
		{Volume: volumeRemote, MountPath: remote.ScriptDir, ReadOnly: true},
		{Volume: volumeControl, MountPath: remote.ControlDir},
		{Volume: volumeLogs, MountPath: remote.LogDir},
	}
	builds := eci.VolumeMount{Volume: volumeBuilds, MountPath: cfg.BuildsDir}
	if i := slices.IndexFunc(nasMounts[helperContainer], func(m eci.VolumeMount) bool { return m.MountPath == cfg.BuildsDir }); i >= 0 {
		builds = nasMounts[helperContainer][i]
	} else {
		common = append(common, builds)
	}
	helperImage, err := helperImage(cfg, job)
	if err != nil {
		return err
	}
	policies, err := pullPolicies(cfg, buildImage(cfg, job), job.Image.PullPolicy)
	if err != nil {
		return err
	}
	root := int64(0)
	helper := eci.Container{
		Name: helperContainer, Image: helperImage, PullPolicy: defaultPullPolicy(helperImage),
		Command:   remote.HelperCommand(cfg.BuildsDir, nasmount.Opened(mounts)...),
		RunAsUser: &root, // it opens volumes to whatever uid build has
		CPU:       cfg.Helper.CPU, MemoryGiB: cfg.Helper.Memory.GiB(),
		VolumeMounts:           append(append([]eci.VolumeMount{}, common...), nasMounts[helperContainer]...),
		TerminationMessagePath: "/dev/termination-log", MessageFromLog: true,
	}
	build := eci.Container{
		Name: buildContainer, Image: buildImage(cfg, job), PullPolicy: policies[0],
		Command: remote.BuildCommand(), HideEnv: true,
		Capabilities:           cfg.Group.Capabilities,
		VolumeMounts:           append(append([]eci.VolumeMount{}, common...), nasMounts[buildContainer]...),
		TerminationMessagePath: "/dev/termination-log", MessageFromLog: true,
	}
	if build.RunAsUser, build.RunAsGroup, err = runAs(cfg, job.Image); err != nil {
		return err
	}
	// Else scripts run without the image's entrypoint, and the job's, as on Kubernetes.
	if job.on("FF_KUBERNETES_HONOR_ENTRYPOINT") && !cleared(job.Image.Entrypoint) {
		build.Command, build.Args = job.Image.Entrypoint, build.Command
	}
	for _, key := range sortedKeys(cfg.Build.Environment) {
		build.Env = append(build.Env, eci.EnvVar{Name: key, Value: cfg.Build.Environment[key]})
	}
	if cfg.Build.SHMSize > 0 {
		build.VolumeMounts = append(build.VolumeMounts, eci.VolumeMount{Volume: volumeShm, MountPath: "/dev/shm"})
	}
	spec.Containers = []eci.Container{helper, build}
	if err := setServices(spec, cfg, job, builds); err != nil {
		return err
	}
	grow(spec)
	return nil
}

// grow adds to the group's size what helper and services have for themselves: all
// else lives inside build's (design, section 5).
func grow(spec *eci.GroupSpec) {
	for _, c := range spec.Containers {
		spec.CPU += c.CPU
		spec.MemoryGiB += c.MemoryGiB
	}
}

func remoteFiles() *eci.ConfigFile {
	volume := &eci.ConfigFile{}
	for _, file := range remote.Scripts() {
		volume.Files = append(volume.Files, eci.File{Path: file.Name, Content: file.Content})
	}
	return volume
}

func ownVolumes(cfg *config.Config) []eci.Volume {
	volumes := []eci.Volume{
		{Name: volumeRemote, ConfigFile: remoteFiles()},
		{Name: volumeControl, EmptyDir: &eci.EmptyDir{Medium: "Memory", SizeLimit: controlSize}},
		{Name: volumeLogs, EmptyDir: &eci.EmptyDir{}},
	}
	if nasmount.At(cfg.NAS, cfg.BuildsDir) == nil {
		builds := eci.Volume{Name: volumeBuilds, EmptyDir: &eci.EmptyDir{}}
		if cfg.Build.BuildsMedium == "memory" {
			builds.EmptyDir.Medium = "Memory"
		}
		volumes = append(volumes, builds)
	}
	if cfg.Build.SHMSize > 0 {
		size := fmt.Sprintf("%dMi", int64(math.Ceil(cfg.Build.SHMSize.GiB()*1024)))
		volumes = append(volumes, eci.Volume{Name: volumeShm, EmptyDir: &eci.EmptyDir{Medium: "Memory", SizeLimit: size}})
	}
	return volumes
}

func buildImage(cfg *config.Config, job *Job) string { return firstOf(job.Image.Name, cfg.Build.Image) }

func helperImage(cfg *config.Config, job *Job) (string, error) {
	if strings.Contains(cfg.Helper.Image, "{runner_version}") && job.RunnerVersion == "" {
		return "", fmt.Errorf("the runner's version is not known here, and [helper] image %q needs it: set CUSTOM_ENV_CI_RUNNER_VERSION or an image without {runner_version}", cfg.Helper.Image)
	}
	return cfg.Helper.ImageFor(cfg.Capacity.Architecture, job.RunnerVersion), nil
}
