package nasmount

import (
	"slices"
	"strings"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// volumePrefix keeps the names of [[nas]] apart from the driver's own volumes.
const volumePrefix = "nas-"

// flexDriver is the FlexVolume driver for NAS. It is the only documented way to set
// mount options or the protocol version, and it makes a missing directory.
const flexDriver = "alicloud/nas"

// defaultVersion is the protocol version for options without vers: the one that the NAS pages
// advise, and the only one that Extreme NAS speaks.
const defaultVersion = "3"

// openDir is where helper mounts a directory that otherwise only build or services mount, to
// open it to the uids that those run as.
const openDir = ReservedDir + "/nas/"

// Volumes returns the volumes of the mounts, in order, and what each container mounts, by
// Helper, Build and Service. The mounts should have been through Check and Expand. Mounts of
// the same server, path and options share a volume, of which each mounts its SubPath. Those
// of different paths have volumes of their own, because ECI documents that it makes a
// missing path, and not that it makes a missing SubPath.
func Volumes(mounts []Mount) ([]eci.Volume, map[string][]eci.VolumeMount) {
	var volumes []eci.Volume
	at := map[[3]string]int{} // server, path, options
	in := map[string][]eci.VolumeMount{}
	for _, m := range mounts {
		key := [3]string{m.Server, m.Path, m.Options}
		i, shared := at[key]
		if !shared {
			i, at[key] = len(volumes), len(volumes)
			volumes = append(volumes, m.volume())
		}
		if nfs := volumes[i].NFS; nfs != nil {
			nfs.ReadOnly = nfs.ReadOnly && m.ReadOnly // where only some mounts are read-only, the volume is not
		}
		mount := eci.VolumeMount{Volume: volumes[i].Name, MountPath: m.MountPath, SubPath: m.SubPath, ReadOnly: m.ReadOnly}
		for _, name := range m.in() {
			in[name] = append(in[name], mount)
		}
		if opened := m.opened(); opened != "" && opened != m.MountPath {
			mount.MountPath = opened
			in[Helper] = append(in[Helper], mount)
		}
	}
	return volumes, in
}

// Opened lists the directories of helper that it must open to any uid, which are
// those that a job or a service may write to.
func Opened(mounts []Mount) []string {
	var dirs []string
	for _, m := range mounts {
		if dir := m.opened(); dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (m Mount) opened() string {
	switch {
	case m.ReadOnly || !slices.ContainsFunc(m.in(), func(name string) bool { return name != Helper }):
		return ""
	case slices.Contains(m.in(), Helper):
		return m.MountPath
	}
	return openDir + m.Name
}

func (m Mount) volume() eci.Volume {
	v := eci.Volume{Name: volumePrefix + m.Name}
	if m.Options == "" {
		v.NFS = &eci.NFS{Server: m.Server, Path: m.Path, ReadOnly: m.ReadOnly}
		return v
	}
	version, rest := splitVersion(m.Options)
	options := map[string]string{"server": m.Server, "path": m.Path, "vers": version}
	if rest != "" {
		options["options"] = rest
	}
	v.Flex = &eci.Flex{Driver: flexDriver, Options: options}
	return v
}

// splitVersion takes vers out of the options: the driver has a key of its own for it.
func splitVersion(options string) (version, rest string) {
	version = defaultVersion
	var others []string
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, "vers="); ok {
			version = v
			continue
		}
		others = append(others, o)
	}
	return version, strings.Join(others, ",")
}
