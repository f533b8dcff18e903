package nasmount

import "slices"

// The containers that a mount may go into. Service is every service: they get what
// names them alone, since nobody has to trust their images with the cache.
const (
	Helper  = "helper"
	Build   = "build"
	Service = "service"
)

// ReservedDir is where the driver mounts its own volumes in every container.
const ReservedDir = "/.eci"

// Most is how many tables there can be: ECI takes 20 volumes a group and 20 words a
// command (sources.md: limits, create), and the driver needs 5 of either.
const Most = 15

// DefaultOptions are the mount options of a table that gives none. They are those
// that Alibaba's NAS pages recommend for NFSv3: hard, so that a failover of the
// mount target blocks instead of corrupting; noresvport, so that a connection lost
// is set up again on another port; nolock, since NAS keeps no NFSv3 locks.
const DefaultOptions = "vers=3,nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"

// Mount is one [[nas]] table: a directory of a NAS file system, mounted into
// containers of each group.
type Mount struct {
	Name       string   `toml:"name"`       // DNS label, unique in the file
	Server     string   `toml:"server"`     // host of the mount target, no scheme, no port
	Path       string   `toml:"path"`       // directory on the file system; may hold placeholders
	SubPath    string   `toml:"sub_path"`   // directory below Path, as a SubPath of its volume; may hold placeholders
	MountPath  string   `toml:"mount_path"` // directory in the container
	Options    string   `toml:"options"`    // comma list for mount(8); "" leaves them to ECI
	ReadOnly   bool     `toml:"read_only"`
	Containers []string `toml:"containers"` // helper, build, service; none means the first two
}

// Default is a table with nothing written in it.
func Default() Mount {
	return Mount{Options: DefaultOptions, Containers: []string{Helper, Build}}
}

// At finds the table that is mounted on dir, nil when there is none.
func At(mounts []Mount, dir string) *Mount {
	if i := slices.IndexFunc(mounts, func(m Mount) bool { return m.MountPath == dir }); i >= 0 {
		return &mounts[i]
	}
	return nil
}

// in lists the containers that the mount goes into.
func (m Mount) in() []string {
	if len(m.Containers) == 0 {
		return []string{Helper, Build}
	}
	return m.Containers
}
