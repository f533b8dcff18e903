package eci

import "time"

// GroupSpec is a container group as the driver wants it; Params turns it into
// request parameters of CreateContainerGroup (sources.md: create).
type GroupSpec struct {
	Name                          string
	ClientToken                   string
	VSwitchIDs                    []string
	ScheduleStrategy              string // VSwitchOrdered or VSwitchRandom
	SecurityGroupID               string
	ResourceGroupID               string
	RAMRole                       string
	CPU                           float64 // vCPU of the group
	MemoryGiB                     float64 // of the group
	InstanceTypes                 []string
	CPUArchitecture               string  // "" or AMD64, ARM64
	EphemeralStorageGiB           int     // extra to the free 30 GiB
	SpotStrategy                  string  // "" or NoSpot, SpotAsPriceGo, SpotWithPriceLimit
	SpotPriceLimit                float64 // per hour, in the account's currency
	SpotDuration                  int     // hours without reclaim; 0 = none
	RestartPolicy                 string  // Always, Never or OnFailure
	ActiveDeadlineSeconds         int64
	TerminationGracePeriodSeconds int64
	AutoMatchImageCache           bool
	ImageSnapshotID               string
	PlainHTTPRegistries           []string
	InsecureRegistries            []string
	RegistryCredentials           []RegistryCredential
	ACRRegistries                 []ACRRegistry
	AutoCreateEIP                 bool
	EIPBandwidth                  int // Mbit/s
	EIPID                         string
	EIPBandwidthPackage           string
	DNSServers                    []string
	HostAliases                   []HostAlias
	Sysctls                       map[string]string
	Tags                          map[string]string
	Containers                    []Container
	Volumes                       []Volume
	Extra                         map[string]string // raw parameters, laid over ours
}

// RegistryCredential lets ECI pull from Server (no scheme).
type RegistryCredential struct{ Server, UserName, Password string }

// ACRRegistry lets ECI pull without a password from an instance of the same account.
type ACRRegistry struct {
	InstanceID string
	RegionID   string
	Domains    []string
}

// HostAlias is a line of /etc/hosts in every container.
type HostAlias struct {
	IP        string
	Hostnames []string
}

// Container is one container of a group.
type Container struct {
	Name                   string
	Image                  string
	PullPolicy             string // Always, IfNotPresent or Never
	Command                []string
	Args                   []string
	WorkingDir             string
	Env                    []EnvVar
	HideEnv                bool    // EnvironmentVarHide: describe calls leave the values out
	CPU                    float64 // vCPU; 0 = inside the group's
	MemoryGiB              float64 // 0 = inside the group's
	GPU                    int
	Stdin                  bool // stays open; otherwise a read of it ends at once
	VolumeMounts           []VolumeMount
	RunAsUser              *int64
	RunAsGroup             *int64
	Capabilities           []string // added
	Privileged             bool     // by invitation of ECI
	TerminationMessagePath string
	MessageFromLog         bool // a failed container without a message gives the end of its log
}

// EnvVar is an environment variable of a container.
type EnvVar struct{ Name, Value string }

// VolumeMount mounts a volume of the group.
type VolumeMount struct {
	Volume    string
	MountPath string
	SubPath   string
	ReadOnly  bool
}

// Volume is a volume of a group; exactly one of the pointers is set.
type Volume struct {
	Name       string
	EmptyDir   *EmptyDir
	NFS        *NFS
	Flex       *Flex
	ConfigFile *ConfigFile
}

// EmptyDir lives as long as the group. Medium is "", Memory or LocalRaid0; SizeLimit is such
// as 256Mi, "" for none.
type EmptyDir struct{ Medium, SizeLimit string }

// NFS mounts a NAS export with ECI's own mount options.
type NFS struct {
	Server, Path string
	ReadOnly     bool
}

// Flex is a FlexVolume, e.g. driver alicloud/nas.
type Flex struct {
	Driver  string
	Options map[string]string // sent as one JSON object
}

// ConfigFile holds files of at most 32 KiB each and 60 KiB together.
type ConfigFile struct {
	Files []File
}

// File is one file of a ConfigFile volume.
type File struct {
	Path    string // relative to the mount path
	Content []byte
}

// Group is a container group as DescribeContainerGroups returns it.
type Group struct {
	ID            string
	Name          string
	Status        string // Scheduling, Pending, Running, Succeeded, Failed, ... unknown strings are kept
	CPU           float64
	MemoryGiB     float64
	InstanceType  string
	SpotStrategy  string
	ZoneID        string
	VSwitchID     string
	IntranetIP    string
	CreationTime  time.Time // zero when absent or unreadable
	SucceededTime time.Time
	FailedTime    time.Time
	ExpiredTime   time.Time // of a spot instance
	Tags          map[string]string
	Containers    []ContainerStatus
	Events        []Event
}

// ContainerStatus is the state of one container.
type ContainerStatus struct {
	Name         string
	Image        string
	State        string // Waiting, Running, Terminated; "" while unknown
	Reason       string
	Message      string
	ExitCode     int // meaningful when State is Terminated
	Ready        bool
	RestartCount int
	StartTime    time.Time
	FinishTime   time.Time
}

// Event is one event of a group.
type Event struct {
	Type    string // Normal or Warning
	Reason  string
	Message string
	Name    string // the object it speaks of, e.g. a container
	Count   int
	First   time.Time
	Last    time.Time
}

// Terminal tells whether the group has ended for good and is no longer billed.
func (g *Group) Terminal() bool {
	switch g.Status {
	case "Succeeded", "Failed", "Expired", "ScheduleFailed":
		return true
	}
	return false
}

// Container returns the state of the named container, or nil.
func (g *Group) Container(name string) *ContainerStatus {
	for i := range g.Containers {
		if g.Containers[i].Name == name {
			return &g.Containers[i]
		}
	}
	return nil
}
