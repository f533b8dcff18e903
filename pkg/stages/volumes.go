package stages

import (
	"fmt"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

const (
	// volumePrefix keeps the names of [[volume]] apart from the driver's own volumes.
	volumePrefix = "volume-"
	// volumesDir is where helper finds those that it does not mount otherwise.
	volumesDir = "/.eci/volumes/"
	// filesSize holds the files of a volume twice, as they are written anew.
	filesSize = "4Mi"
	// ossDriver is the FlexVolume driver for OSS (sources.md: volumes).
	ossDriver = "alicloud/oss"
)

// addVolumes mounts the volumes of the driver's file, and returns them.
func (m *mounts) addVolumes(list []config.Volume) []eci.Volume {
	var volumes []eci.Volume
	for _, v := range list {
		volume := eci.Volume{Name: volumePrefix + v.Name}
		secret := v.Type == config.VolumeSecret
		switch v.Type {
		case config.VolumeOSS:
			volume.Flex = &eci.Flex{Driver: ossDriver, Options: v.Options}
		case config.VolumeSecret:
			volume.EmptyDir = &eci.EmptyDir{Medium: "Memory", SizeLimit: filesSize}
		default:
			volume.EmptyDir = &eci.EmptyDir{SizeLimit: sizeLimit(v.Size)}
			if v.Medium == "memory" {
				volume.EmptyDir.Medium = "Memory"
			}
		}
		volumes = append(volumes, volume)
		mount := eci.VolumeMount{Volume: volume.Name, MountPath: v.MountPath, ReadOnly: secret}
		if v.In(buildContainer) {
			m.build = append(m.build, mount)
		}
		if v.In(nasmount.Service) {
			m.service = append(m.service, mount)
		}
		if v.In(helperContainer) || secret || v.Opened() {
			// helper writes a secret's files, and opens an EmptyDir to any uid.
			m.helper = append(m.helper, eci.VolumeMount{Volume: volume.Name, MountPath: inHelper(v)})
		}
		if v.Opened() {
			m.opened = append(m.opened, inHelper(v))
		}
	}
	return volumes
}

// inHelper is the directory of helper that a volume is mounted on.
func inHelper(v config.Volume) string {
	if v.In(helperContainer) {
		return v.MountPath
	}
	return volumesDir + v.Name
}

// sizeLimit is a size as ECI takes it, in whole Mi; "" for none.
func sizeLimit(size config.Size) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf("%dMi", (size+config.MiB-1)/config.MiB)
}
