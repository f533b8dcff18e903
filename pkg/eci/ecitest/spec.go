package ecitest

import (
	"os"
	"time"
)

// groupSpec is a checked CreateContainerGroup request.
type groupSpec struct {
	Name, RegionID, ZoneID, VSwitchID, SecurityGroupID string
	RestartPolicy, InstanceType, SpotStrategy          string
	CPU, MemoryGiB                                     float64 // rounded up as billed
	Deadline                                           time.Duration
	Grace                                              time.Duration
	HostName                                           string
	Hosts                                              map[string][]string
	Tags                                               []tag
	Containers                                         []containerSpec
	Volumes                                            []volumeSpec
	ImageSnapshotID                                    string
	AutoMatchImageCache                                bool
}

type tag struct{ Key, Value string }

type containerSpec struct {
	Name, Image            string
	PullPolicy             string
	Command, Args          []string
	WorkingDir             string
	Env                    []tag // names and values
	HideEnv                bool
	CPU, MemoryGiB         float64 // 0 = the group's
	User                   string  // uid[:gid], "" = the image's
	TerminationMessagePath string
	MessageFromLog         bool // FallbackToLogsOnError
	Mounts                 []mountSpec
}

type mountSpec struct {
	Volume, Path, SubPath string
	ReadOnly              bool
}

type volumeSpec struct {
	Name, Type string

	// EmptyDirVolume
	Medium    string
	SizeLimit string
	SizeBytes int64

	// NFSVolume, and FlexVolume with driver alicloud/nas
	Server, Path string
	ReadOnly     bool
	FlexOptions  string // as sent

	// ConfigFileVolume
	Files []configFile
}

type configFile struct {
	Path    string
	Content []byte
	Mode    os.FileMode
}
