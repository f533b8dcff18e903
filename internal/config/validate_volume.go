package config

import (
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

const (
	// volumesMost is how many volumes ECI takes a group (sources.md: limits).
	volumesMost = 20
	// openedMost is how many directories helper opens to jobs of any uid: ECI takes 20
	// words a command (sources.md: create), of which 4 are the driver's.
	openedMost = 16
	// volumeNameMax leaves room for a prefix in a volume's name of 63.
	volumeNameMax = 50
	// filesMost keeps the pages of a secret's files within its volume.
	filesMost = 100
)

// fileName is what Kubernetes takes as a key of a secret; none begins with "..", which
// leaves such names to the driver.
var fileName = pattern.Lazy(`^[A-Za-z0-9._-]{1,253}$`)

func (v *validator) volumes() {
	v.volumeCount()
	for i, vol := range v.cfg.Volumes {
		at := index("volume", i)
		v.volumeName(at, i, vol.Name)
		v.volumePath(at, i, vol)
		v.volumeContainers(at, vol)
		switch vol.Type {
		case VolumeEmptyDir:
			v.emptyDir(at, vol)
		case VolumeSecret:
			v.secretFiles(at, vol)
		case VolumeOSS:
			v.oss(at, vol)
		case "":
			v.add(at+".type", "is required: %s", quoteAll([]string{VolumeEmptyDir, VolumeSecret, VolumeOSS}))
			continue
		default:
			v.oneOf(at+".type", vol.Type, VolumeEmptyDir, VolumeSecret, VolumeOSS)
			continue
		}
		v.ofType(at, vol)
	}
}

// hasRegistrySecret tells whether any job gets the registry secret.
func (v *validator) hasRegistrySecret() bool {
	return v.cfg.RegistrySecret.MountPath != "" &&
		slices.ContainsFunc(v.cfg.Registries, func(r Registry) bool { return r.ACRInstanceID == "" })
}

// volumeCount counts the volumes of a group, and the directories that helper opens.
func (v *validator) volumeCount() {
	c := v.cfg
	own := 3 // scripts, control, logs
	for _, more := range []bool{nasmount.At(c.NAS, c.BuildsDir) == nil, v.hasRegistrySecret(), c.Build.SHMSize > 0} {
		if more {
			own++
		}
	}
	nas, _ := nasmount.Volumes(c.NAS)
	if n := own + len(nas) + len(c.Volumes); n > volumesMost {
		key := "nas"
		if len(c.Volumes) > 0 {
			key = index("volume", max(0, len(c.Volumes)-(n-volumesMost)))
		}
		v.add(key, "a group would have %d volumes, and ECI takes %d: %d of the driver's own, %d of [[nas]], %d of [[volume]]",
			n, volumesMost, own, len(nas), len(c.Volumes))
	}
	opened := len(nasmount.Opened(c.NAS))
	for i, vol := range c.Volumes {
		if vol.Opened() {
			opened++
		}
		if vol.Opened() && opened == openedMost+1 {
			v.add(index("volume", i), "is directory %d, with those of [[nas]], that jobs may write to, and there is room for %d", opened, openedMost)
		}
	}
}

func (v *validator) volumeName(at string, i int, name string) {
	switch {
	case name == "":
		v.add(at+".name", "is required")
	case len(name) > volumeNameMax || !runner().MatchString(name):
		v.add(at+".name", "%q must be at most %d of a-z, 0-9 and -, with no - at either end", name, volumeNameMax)
	default:
		if j := slices.IndexFunc(v.cfg.Volumes[:i], func(o Volume) bool { return o.Name == name }); j >= 0 {
			v.add(at+".name", "%q is also the name of volume %d", name, j+1)
		}
	}
}

func (v *validator) volumePath(at string, i int, vol Volume) {
	key, dir := at+".mount_path", vol.MountPath
	switch {
	case dir == "":
		v.add(key, "is required")
		return
	case strings.ContainsFunc(dir, unicode.IsControl) || strings.ContainsAny(dir, "{}"):
		v.add(key, "%q must have no control character and no placeholder", dir)
		return
	case !v.absolute(key, dir):
		return
	}
	overlaps := func(other string) bool { return path.IsAbs(other) && nasmount.Overlap(dir, other) }
	switch reserved := nasmount.Reserved(dir); {
	case overlaps("/dev/shm"):
		v.add(key, "%q overlaps /dev/shm: set shm_size in [build]", dir)
	case reserved != "":
		v.add(key, "%q overlaps %s, which is reserved", dir, reserved)
	}
	if overlaps(v.cfg.BuildsDir) {
		v.add(key, "%q overlaps builds_dir %q, which has a volume of its own", dir, v.cfg.BuildsDir)
	}
	if overlaps(v.cfg.CacheDir) {
		v.add(key, "%q overlaps cache_dir %q, where only a [[nas]] keeps anything", dir, v.cfg.CacheDir)
	}
	for j, m := range v.cfg.NAS {
		if overlaps(m.MountPath) && (len(m.Containers) == 0 || meet(vol.Containers, m.Containers)) {
			v.add(key, "%q overlaps mount_path %q of nas %d", dir, m.MountPath, j+1)
		}
	}
	if secret := v.cfg.RegistrySecret.MountPath; v.hasRegistrySecret() && vol.In(nasmount.Build) && overlaps(secret) {
		v.add(key, "%q overlaps mount_path %q of [registry_secret]", dir, secret)
	}
	for j, o := range v.cfg.Volumes[:i] {
		if overlaps(o.MountPath) && meet(vol.Containers, o.Containers) {
			v.add(key, "%q overlaps mount_path %q of volume %d", dir, o.MountPath, j+1)
		}
	}
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

// volumeContainers checks where a volume is mounted.
func (v *validator) volumeContainers(at string, vol Volume) {
	key := at + ".containers"
	if len(vol.Containers) == 0 {
		v.add(key, "needs one of %s at least", quoteAll([]string{nasmount.Helper, nasmount.Build, nasmount.Service}))
	}
	v.each(key, vol.Containers, nasmount.Helper, nasmount.Build, nasmount.Service)
}

// ofType refuses keys of another type, which would be without effect.
func (v *validator) ofType(at string, vol Volume) {
	for _, k := range []struct {
		key string
		set bool
		typ string
	}{
		{"medium", vol.Medium != "", VolumeEmptyDir},
		{"size", vol.Size != 0, VolumeEmptyDir},
		{"files", len(vol.Files) > 0, VolumeSecret},
		{"options", len(vol.Options) > 0, VolumeOSS},
	} {
		if k.set && vol.Type != k.typ {
			v.add(at+"."+k.key, "goes with type = %q", k.typ)
		}
	}
}

func (v *validator) emptyDir(at string, vol Volume) {
	if vol.Medium != "" {
		v.oneOf(at+".medium", vol.Medium, "disk", "memory")
	}
}

func (v *validator) secretFiles(at string, vol Volume) {
	key := at + ".files"
	switch n := len(vol.Files); {
	case n == 0:
		v.add(key, `is required, for instance { "settings.xml" = "/etc/eci-executor/settings.xml" }`)
	case n > filesMost:
		v.add(key, "has %d files; a volume takes %d", n, filesMost)
	}
	for name, file := range vol.Files {
		if !fileName().MatchString(name) || name == "." || strings.HasPrefix(name, "..") {
			v.add(key+"."+name, `the name must be at most 253 of A-Z, a-z, 0-9, ".", "_" and "-", and not begin with ".."`)
		}
		v.absolute(key+"."+name, file)
	}
}

// oss checks what FlexVolume alicloud/oss can't do without. Its access keys would stand in
// the request, and in every answer that describes the group.
func (v *validator) oss(at string, vol Volume) {
	key := at + ".options"
	for _, name := range []string{"bucket", "url"} {
		if vol.Options[name] == "" {
			v.add(key+"."+name, "is required")
		}
	}
	for name := range vol.Options {
		switch strings.ToLower(name) {
		case "akid", "aksecret":
			v.add(key+"."+name, "would be shown by every look at the group; give ramRole instead")
		}
	}
}
