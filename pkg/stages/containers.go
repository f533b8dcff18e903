package stages

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// mounts are what each container mounts, NAS directories included.
type mounts struct {
	helper, build []eci.VolumeMount
	service       []eci.VolumeMount // of each service
	opened        []string          // directories that helper opens to jobs of any uid
}

// setContainers adds helper, build, the services and the volumes they mount.
func setContainers(spec *eci.GroupSpec, cfg *config.Config, job *Job) error {
	nas, err := nasmount.Expand(cfg.NAS, nasmount.Values{
		ProjectPath: job.ProjectPath, ProjectID: strconv.FormatInt(job.ProjectID, 10), RefProtected: job.RefProtected,
		ConcurrentID: job.Slot})
	if err != nil {
		return err
	}
	nasVolumes, nasMounts := nasmount.Volumes(nas)
	spec.Volumes = append(ownVolumes(cfg, job), nasVolumes...)
	m := newMounts(cfg, job, nasMounts)
	m.opened = nasmount.Opened(nas)
	spec.Volumes = append(spec.Volumes, m.addVolumes(cfg.Volumes)...)
	helper, err := helperOf(cfg, job, m)
	if err != nil {
		return err
	}
	build, err := buildOf(cfg, job, m)
	if err != nil {
		return err
	}
	spec.Containers = []eci.Container{helper, build}
	if err := setServices(spec, cfg, job, m.service); err != nil {
		return err
	}
	grow(spec)
	collect(spec, cfg)
	return nil
}

func newMounts(cfg *config.Config, job *Job, nas map[string][]eci.VolumeMount) mounts {
	common := []eci.VolumeMount{
		{Volume: volumeRemote, MountPath: remote.ScriptDir, ReadOnly: true},
		{Volume: volumeControl, MountPath: remote.ControlDir},
		{Volume: volumeLogs, MountPath: remote.LogDir},
	}
	builds := eci.VolumeMount{Volume: volumeBuilds, MountPath: cfg.BuildsDir}
	if i := slices.IndexFunc(nas[helperContainer], func(m eci.VolumeMount) bool { return m.MountPath == cfg.BuildsDir }); i >= 0 {
		builds = nas[helperContainer][i]
	} else {
		common = append(common, builds)
	}
	m := mounts{
		helper:  slices.Concat(common, nas[helperContainer]),
		build:   slices.Concat(common, nas[buildContainer]),
		service: []eci.VolumeMount{builds},
	}
	for _, mount := range nas[nasmount.Service] {
		if mount.MountPath != cfg.BuildsDir { // which each service has
			m.service = append(m.service, mount)
		}
	}
	if registrySecret(cfg, job) != nil {
		m.helper = append(m.helper, eci.VolumeMount{Volume: volumeSecret, MountPath: secretDir})
		m.build = append(m.build, eci.VolumeMount{Volume: volumeSecret, MountPath: cfg.RegistrySecret.MountPath})
	}
	if cfg.Build.SHMSize > 0 {
		m.build = append(m.build, eci.VolumeMount{Volume: volumeShm, MountPath: "/dev/shm"})
	}
	return m
}

func helperOf(cfg *config.Config, job *Job, m mounts) (eci.Container, error) {
	image, err := helperImage(cfg, job)
	root := int64(0)
	return eci.Container{
		Name: helperContainer, Image: image, PullPolicy: defaultPullPolicy(image),
		Command:   remote.HelperCommand(cfg.BuildsDir, m.opened...),
		RunAsUser: &root, // it opens volumes to whatever uid build has
		CPU:       cfg.Helper.CPU, MemoryGiB: cfg.Helper.Memory.GiB(),
		VolumeMounts:           m.helper,
		TerminationMessagePath: "/dev/termination-log", MessageFromLog: true,
	}, err
}

func buildOf(cfg *config.Config, job *Job, m mounts) (eci.Container, error) {
	image := buildImage(cfg, job)
	policies, err := pullPolicies(cfg, image, job.Image.PullPolicy)
	if err != nil {
		return eci.Container{}, err
	}
	build := eci.Container{
		Name: buildContainer, Image: image, PullPolicy: policies[0],
		Command: remote.BuildCommand(), HideEnv: true,
		Capabilities:           cfg.Group.Capabilities,
		VolumeMounts:           m.build,
		TerminationMessagePath: "/dev/termination-log", MessageFromLog: true,
	}
	build.GPU, _ = eci.GPUsOfAll(cfg.Capacity.InstanceTypes) // that the types go together was checked by config and takeTypes
	// Without the flag neither the image's entrypoint nor the job's runs, as on Kubernetes.
	if job.on("FF_KUBERNETES_HONOR_ENTRYPOINT") && !config.Cleared(job.Image.Entrypoint) {
		build.Command, build.Args = job.Image.Entrypoint, build.Command
		if err := config.CheckWords(build.Command, build.Args); err != nil {
			return eci.Container{}, buildErrorf("image %q: %v", image, err)
		}
	}
	for _, key := range sortedKeys(cfg.Build.Environment) {
		build.Env = append(build.Env, eci.EnvVar{Name: key, Value: cfg.Build.Environment[key]})
	}
	build.RunAsUser, build.RunAsGroup, err = runAs(cfg, job.Image)
	return build, err
}

// grow adds the sizes of helper and services to the group's, where they have one of their
// own. Without one they live inside the build's size.
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

func ownVolumes(cfg *config.Config, job *Job) []eci.Volume {
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
	if registrySecret(cfg, job) != nil {
		volumes = append(volumes, eci.Volume{Name: volumeSecret, EmptyDir: &eci.EmptyDir{Medium: "Memory", SizeLimit: secretSize}})
	}
	if cfg.Build.SHMSize > 0 {
		volumes = append(volumes, eci.Volume{Name: volumeShm, EmptyDir: &eci.EmptyDir{Medium: "Memory", SizeLimit: sizeLimit(cfg.Build.SHMSize)}})
	}
	return volumes
}

func buildImage(cfg *config.Config, job *Job) string { return cmp.Or(job.Image.Name, cfg.Build.Image) }

func helperImage(cfg *config.Config, job *Job) (string, error) {
	if strings.Contains(cfg.Helper.Image, "{runner_version}") && job.RunnerVersion == "" {
		return "", fmt.Errorf("the runner's version is not known here, and [helper] image %q needs it: set CUSTOM_ENV_CI_RUNNER_VERSION or an image without {runner_version}", cfg.Helper.Image)
	}
	return cfg.Helper.ImageFor(cfg.Capacity.Architecture, job.RunnerVersion), nil
}
