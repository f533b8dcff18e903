package ecitest

import (
	"os"
	"time"

	"github.com/eci-executor/eci-executor/internal/images"
)

// groupSpec is a checked CreateContainerGroup request, and where it was placed.
type groupSpec struct {
	Name, RegionID, SecurityGroupID string
	RestartPolicy, SpotStrategy     string
	SpotPriceLimit                  float64
	StrictSpot                      bool
	EphemeralStorage                int64 // GiB above the free 30
	ResourceGroupID, RAMRole        string
	ComputeCategory                 string
	PublicAddress                   bool
	Deadline                        time.Duration
	MaxPending                      time.Duration
	Grace                           time.Duration
	HostName                        string
	Hosts                           map[string][]string
	DNS                             dnsSpec
	Sysctls                         []tag
	Tags                            []tag
	Containers                      []containerSpec
	Volumes                         []volumeSpec
	ImageSnapshotID                 string
	AutoMatchImageCache             bool
	Registries                      images.Registries

	VSwitches []string // to try, in this order
	Sizes     []size   // to try, in this order

	// Set by place: the first vSwitch and size that could be had.
	VSwitchID, ZoneID, VPCID string // ZoneID before that: the zone asked for
	CPU, MemoryGiB           float64
	InstanceType             string
	SpotDegraded             bool      // made as pay-as-you-go
	NoCapacity               *apiError // accepted, but can't be had
}

type tag struct{ Key, Value string }

type dnsSpec struct {
	Policy                string
	NameServers, Searches []string
	Options               []tag
}

type containerSpec struct {
	Name, Image            string
	PullPolicy             string
	Command, Args          []string
	WorkingDir             string
	Env                    []tag // names and values
	HideEnv                bool
	Ports                  []portSpec
	CPU, MemoryGiB         float64 // 0 = the group's
	GPU                    int
	User, Group            string // uid, "" = the image's; gid, "" = the user's
	Capabilities           []string
	Privileged             bool
	Stdin, StdinOnce, TTY  bool // but for Stdin shown alone
	TerminationMessagePath string
	MessageFromLog         bool // FallbackToLogsOnError
	Mounts                 []mountSpec
}

type portSpec struct {
	Port     int64
	Protocol string
}

type mountSpec struct {
	Volume, Path, SubPath string
	Propagation           string
	ReadOnly              bool
}

type volumeSpec struct {
	Name, Type string

	// EmptyDirVolume
	Medium    string
	SizeLimit string
	SizeBytes int64

	Driver string // of FlexVolume
	Bucket string // of OSS

	// NFSVolume, and FlexVolume with driver alicloud/nas; for OSS its url and the
	// directory in the bucket
	Server, Path string
	ReadOnly     bool
	MountOptions string // of FlexVolume
	FlexOptions  string // as sent

	// ConfigFileVolume
	Files []configFile
}

type configFile struct {
	Path    string
	Content []byte
	Mode    os.FileMode
}
