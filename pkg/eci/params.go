package eci

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Params are request parameters under their documented names, repeated ones as
// Container.1.EnvironmentVar.2.Key (sources.md: create, sdk). Empty values are not
// sent, as in the SDK.
type Params map[string]string

func (p Params) set(key, value string) {
	if value != "" {
		p[key] = value
	}
}

func (p Params) number(key string, value float64) {
	if value != 0 {
		p[key] = strconv.FormatFloat(value, 'f', -1, 64)
	}
}

func (p Params) integer(key string, value int64) {
	if value != 0 {
		p[key] = strconv.FormatInt(value, 10)
	}
}

func (p Params) flag(key string, value bool) {
	if value {
		p[key] = "true"
	}
}

func (p Params) list(key string, values []string) {
	for i, v := range values {
		p.set(fmt.Sprintf("%s.%d", key, i+1), v)
	}
}

// tags numbers the tags without a gap, in the order of their keys.
func (p Params) tags(tags map[string]string) {
	n := 0
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if tags[key] != "" {
			n++
			p.set(fmt.Sprintf("Tag.%d.Key", n), key)
			p.set(fmt.Sprintf("Tag.%d.Value", n), tags[key])
		}
	}
}

// spot sets what goes with a strategy; duration 0 means: no protected hour.
func (p Params) spot(strategy string, limit float64, duration int) {
	if strategy == "" {
		return
	}
	p.set("SpotStrategy", strategy)
	p.number("SpotPriceLimit", limit)
	p["SpotDuration"] = strconv.Itoa(duration)
}

// Params are the parameters of CreateContainerGroup for s. It is pure, and maps
// are sent in the order of their keys, so that a repeated call is the same call.
func (s GroupSpec) Params() Params {
	p := Params{}
	p.set("ContainerGroupName", s.Name)
	p.set("ClientToken", s.ClientToken)
	p.set("VSwitchId", strings.Join(s.VSwitchIDs, ","))
	p.set("ScheduleStrategy", s.ScheduleStrategy)
	p.set("SecurityGroupId", s.SecurityGroupID)
	p.set("ResourceGroupId", s.ResourceGroupID)
	p.set("RamRoleName", s.RAMRole)
	p.number("Cpu", s.CPU)
	p.number("Memory", s.MemoryGiB)
	p.set("InstanceType", strings.Join(s.InstanceTypes, ","))
	p.set("CpuArchitecture", s.CPUArchitecture)
	p.integer("EphemeralStorage", int64(s.EphemeralStorageGiB))
	p.set("RestartPolicy", s.RestartPolicy)
	p.integer("ActiveDeadlineSeconds", s.ActiveDeadlineSeconds)
	p.integer("TerminationGracePeriodSeconds", s.TerminationGracePeriodSeconds)
	p.spot(s.SpotStrategy, s.SpotPriceLimit, s.SpotDuration)
	s.images(p)
	s.network(p)
	p.tags(s.Tags)
	for i, key := range slices.Sorted(maps.Keys(s.Sysctls)) {
		p.set(fmt.Sprintf("SecurityContext.Sysctl.%d.Name", i+1), key)
		p.set(fmt.Sprintf("SecurityContext.Sysctl.%d.Value", i+1), s.Sysctls[key])
	}
	for i, c := range s.Containers {
		c.params(p, fmt.Sprintf("Container.%d.", i+1))
	}
	for i, v := range s.Volumes {
		v.params(p, fmt.Sprintf("Volume.%d.", i+1))
	}
	maps.Copy(p, s.Extra)
	return p
}

func (s GroupSpec) images(p Params) {
	p.flag("AutoMatchImageCache", s.AutoMatchImageCache)
	p.set("ImageSnapshotId", s.ImageSnapshotID)
	p.set("PlainHttpRegistry", strings.Join(s.PlainHTTPRegistries, ","))
	p.set("InsecureRegistry", strings.Join(s.InsecureRegistries, ","))
	for i, c := range s.RegistryCredentials {
		prefix := fmt.Sprintf("ImageRegistryCredential.%d.", i+1)
		p.set(prefix+"Server", c.Server)
		p.set(prefix+"UserName", c.UserName)
		p.set(prefix+"Password", c.Password)
	}
	for i, r := range s.ACRRegistries {
		prefix := fmt.Sprintf("AcrRegistryInfo.%d.", i+1)
		p.set(prefix+"InstanceId", r.InstanceID)
		p.set(prefix+"RegionId", r.RegionID)
		p.list(prefix+"Domain", r.Domains)
	}
}

func (s GroupSpec) network(p Params) {
	p.flag("AutoCreateEip", s.AutoCreateEIP)
	p.integer("EipBandwidth", int64(s.EIPBandwidth))
	p.set("EipInstanceId", s.EIPID)
	p.set("EipCommonBandwidthPackage", s.EIPBandwidthPackage)
	p.list("DnsConfig.NameServer", s.DNSServers)
	for i, a := range s.HostAliases {
		prefix := fmt.Sprintf("HostAliase.%d.", i+1)
		p.set(prefix+"Ip", a.IP)
		p.list(prefix+"Hostname", a.Hostnames)
	}
}

func (c Container) params(p Params, prefix string) {
	p.set(prefix+"Name", c.Name)
	p.set(prefix+"Image", c.Image)
	p.set(prefix+"ImagePullPolicy", c.PullPolicy)
	p.set(prefix+"WorkingDir", c.WorkingDir)
	p.set(prefix+"TerminationMessagePath", c.TerminationMessagePath)
	if c.MessageFromLog {
		p[prefix+"TerminationMessagePolicy"] = "FallbackToLogsOnError"
	}
	p.list(prefix+"Command", c.Command)
	p.list(prefix+"Arg", c.Args)
	p.number(prefix+"Cpu", c.CPU)
	p.number(prefix+"Memory", c.MemoryGiB)
	p.integer(prefix+"Gpu", int64(c.GPU))
	p.list(prefix+"SecurityContext.Capability.Add", c.Capabilities)
	p.flag(prefix+"SecurityContextPrivileged", c.Privileged)
	p.flag(prefix+"Stdin", c.Stdin)
	if c.RunAsUser != nil {
		p[prefix+"SecurityContext.RunAsUser"] = strconv.FormatInt(*c.RunAsUser, 10)
	}
	if c.RunAsGroup != nil {
		p[prefix+"SecurityContextRunAsGroup"] = strconv.FormatInt(*c.RunAsGroup, 10)
	}
	for i, e := range c.Env {
		p.set(fmt.Sprintf("%sEnvironmentVar.%d.Key", prefix, i+1), e.Name)
		p.set(fmt.Sprintf("%sEnvironmentVar.%d.Value", prefix, i+1), e.Value)
	}
	p.flag(prefix+"EnvironmentVarHide", c.HideEnv && len(c.Env) > 0)
	for i, m := range c.VolumeMounts {
		mount := fmt.Sprintf("%sVolumeMount.%d.", prefix, i+1)
		p.set(mount+"Name", m.Volume)
		p.set(mount+"MountPath", m.MountPath)
		p.set(mount+"SubPath", m.SubPath)
		p.flag(mount+"ReadOnly", m.ReadOnly)
	}
}

func (v Volume) params(p Params, prefix string) {
	p.set(prefix+"Name", v.Name)
	switch {
	case v.EmptyDir != nil:
		p.set(prefix+"Type", "EmptyDirVolume")
		p.set(prefix+"EmptyDirVolume.Medium", v.EmptyDir.Medium)
		p.set(prefix+"EmptyDirVolume.SizeLimit", v.EmptyDir.SizeLimit)
	case v.NFS != nil:
		p.set(prefix+"Type", "NFSVolume")
		p.set(prefix+"NFSVolume.Server", v.NFS.Server)
		p.set(prefix+"NFSVolume.Path", v.NFS.Path)
		p.flag(prefix+"NFSVolume.ReadOnly", v.NFS.ReadOnly)
	case v.Flex != nil:
		p.set(prefix+"Type", "FlexVolume")
		p.set(prefix+"FlexVolume.Driver", v.Flex.Driver)
		options, _ := json.Marshal(v.Flex.Options) // strings always encode, in the order of their keys
		p.set(prefix+"FlexVolume.Options", string(options))
	case v.ConfigFile != nil:
		p.set(prefix+"Type", "ConfigFileVolume")
		for i, f := range v.ConfigFile.Files {
			file := fmt.Sprintf("%sConfigFileVolume.ConfigFileToPath.%d.", prefix, i+1)
			p.set(file+"Path", f.Path)
			p.set(file+"Content", base64.StdEncoding.EncodeToString(f.Content))
		}
	}
}
