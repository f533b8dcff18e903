package nasmount

import (
	"strings"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// volumePrefix keeps the names of [[nas]] apart from the driver's own volumes.
const volumePrefix = "nas-"

// flexDriver is the FlexVolume driver for NAS. It is the only documented way to set
// mount options or the protocol version, and it makes a missing directory.
const flexDriver = "alicloud/nas"

// defaultVersion is what options without vers get: the version that the NAS pages
// advise, and the only one of Extreme NAS.
const defaultVersion = "3"

// Volumes returns one volume for each mount, in order, and the mounts of each
// container that has some, by container name. The mounts should have been through
// Check and Expand. Mounts of one server are separate volumes.
func Volumes(mounts []Mount) ([]eci.Volume, map[string][]eci.VolumeMount) {
	var volumes []eci.Volume
	in := map[string][]eci.VolumeMount{}
	for _, m := range mounts {
		v := m.volume()
		volumes = append(volumes, v)
		for _, name := range m.in() {
			in[name] = append(in[name], eci.VolumeMount{Volume: v.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly})
		}
	}
	return volumes, in
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
	for _, o := range strings.Split(options, ",") {
		if v, ok := strings.CutPrefix(o, "vers="); ok {
			version = v
			continue
		}
		others = append(others, o)
	}
	return version, strings.Join(others, ",")
}
