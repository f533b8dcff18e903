package config

import (
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// Config is the driver's file. A field of each struct below is the key of its toml
// tag; Default says what a key is when left out.
type Config struct {
	Region          string   `toml:"region"`
	Endpoint        string   `toml:"endpoint"` // see EndpointURL
	VSwitchIDs      []string `toml:"vswitch_ids"`
	VSwitchStrategy string   `toml:"vswitch_strategy"` // ordered, random
	SecurityGroupID string   `toml:"security_group_id"`
	RunnerName      string   `toml:"runner_name"` // "" stands for the runner's id
	StateDir        string   `toml:"state_dir"`
	BuildsDir       string   `toml:"builds_dir"`
	CacheDir        string   `toml:"cache_dir"`
	Shell           string   `toml:"shell"` // bash, sh

	Credentials    Credentials      `toml:"credentials"`
	Build          Build            `toml:"build"`
	Helper         Helper           `toml:"helper"`
	Service        Service          `toml:"service"`
	RunnerServices []RunnerService  `toml:"runner_service"`
	Pull           Pull             `toml:"pull"`
	NAS            []nasmount.Mount `toml:"nas"`
	Volumes        []Volume         `toml:"volume"`
	ImageCache     ImageCache       `toml:"image_cache"`
	Registries     []Registry       `toml:"registry"`
	RegistrySecret RegistrySecret   `toml:"registry_secret"`
	Capacity       Capacity         `toml:"capacity"`
	Spot           Spot             `toml:"spot"`
	Network        Network          `toml:"network"`
	Group          Group            `toml:"group"`
	Allow          Allow            `toml:"allow"`
	Exec           Exec             `toml:"exec"`
	Timeouts       Timeouts         `toml:"timeouts"`
	Debug          Debug            `toml:"debug"`
	Metrics        Metrics          `toml:"metrics"`
}

// Secret is a string that prints as "(hidden)", so that no log or error of a whole
// struct gives it away; string(s) is its value.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the value from JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Params are strings by name; numbers and booleans in the file become their text.
type Params map[string]string

// Credentials for the API. All empty means the SDK's default chain: environment,
// OIDC, profile, RAM role of the ECS instance.
type Credentials struct {
	AccessKeyID         string `toml:"access_key_id"`
	AccessKeySecret     Secret `toml:"access_key_secret"` // also what the file below holds
	AccessKeySecretFile string `toml:"access_key_secret_file"`
	SecurityToken       Secret `toml:"security_token"`
	ECSRAMRole          string `toml:"ecs_ram_role"`
}

// Build is the container that the job's scripts run in; its size is the group's.
type Build struct {
	Image        string            `toml:"image"` // for jobs that name none
	CPU          float64           `toml:"cpu"`   // vCPU
	Memory       Size              `toml:"memory"`
	Environment  map[string]string `toml:"environment"`
	BuildsMedium string            `toml:"builds_medium"` // disk, memory
	SHMSize      Size              `toml:"shm_size"`      // 0 leaves /dev/shm to ECI
}

// Helper is the container for git, cache and artifacts. No size of its own (0) means
// inside the build's.
type Helper struct {
	Image  string  `toml:"image"` // with placeholders; see ImageFor
	CPU    float64 `toml:"cpu"`
	Memory Size    `toml:"memory"`
}

// Service is the size of each service container; 0 means inside the build's.
type Service struct {
	CPU    float64 `toml:"cpu"`
	Memory Size    `toml:"memory"`
}

// RunnerService is a service that every job has beside its own: the [[runners.services]]
// of a runner's file reach no custom executor.
type RunnerService struct {
	Name       string            `toml:"name"`  // image
	Alias      string            `toml:"alias"` // several are parted by commas or spaces
	Entrypoint []string          `toml:"entrypoint"`
	Command    []string          `toml:"command"`
	Variables  map[string]string `toml:"variables"`
}

// Pull says how images are pulled. Policies: always, if-not-present, never.
type Pull struct {
	Policy          []string          `toml:"policy"` // tried in turn; none means by tag
	AllowedPolicies []string          `toml:"allowed_policies"`
	PlainHTTP       []string          `toml:"plain_http"` // host[:port]
	Insecure        []string          `toml:"insecure"`   // host[:port]
	Mirrors         map[string]string `toml:"mirrors"`    // by prefix of an image's full name
}

// Types of a Volume.
const (
	VolumeEmptyDir = "empty_dir" // made with the group, gone with it
	VolumeSecret   = "secret"    // files of the runner's host, in memory
	VolumeOSS      = "oss"       // a bucket
)

// Volume is a volume that is no NAS.
type Volume struct {
	Name       string            `toml:"name"` // DNS label, unique in the file
	Type       string            `toml:"type"`
	MountPath  string            `toml:"mount_path"` // directory in the containers
	Medium     string            `toml:"medium"`     // of an EmptyDir: disk, memory; "" is disk
	Size       Size              `toml:"size"`       // of an EmptyDir; 0 leaves it to ECI
	Files      map[string]string `toml:"files"`      // of a secret: paths on the runner's host, by name
	Options    Params            `toml:"options"`    // of OSS: those of FlexVolume alicloud/oss
	Containers []string          `toml:"containers"` // helper, build, service; as for [[nas]]
}

// In tells whether the volume is mounted into a container: helper, build, or service.
func (v Volume) In(container string) bool { return slices.Contains(v.Containers, container) }

// Opened tells whether helper has to open the volume to jobs and services of any uid.
func (v Volume) Opened() bool {
	return v.Type == VolumeEmptyDir && (v.In(nasmount.Build) || v.In(nasmount.Service))
}

// ImageCache lets a group start from images already on a disk.
type ImageCache struct {
	AutoMatch  bool     `toml:"auto_match"`
	SnapshotID string   `toml:"snapshot_id"` // "imc-..."; wins over AutoMatch
	Images     []string `toml:"images"`      // of what image-cache builds, beside the helper
}

// Registry is one pull credential: user and password, or an ACR instance of the same
// account, which needs neither.
type Registry struct {
	Server        string `toml:"server"` // host[:port]
	Username      string `toml:"username"`
	Password      Secret `toml:"password"` // also what the file below holds
	PasswordFile  string `toml:"password_file"`
	ACRInstanceID string `toml:"acr_instance_id"`
}

// RegistrySecret is where build finds the logins of [[registry]] as a config.json.
type RegistrySecret struct {
	MountPath     string `toml:"mount_path"` // "" for nowhere
	ProtectedOnly bool   `toml:"protected_only"`
}

// Capacity is what the group runs on.
type Capacity struct {
	InstanceTypes    []string `toml:"instance_types"`    // at most 5, tried in turn
	EphemeralStorage int      `toml:"ephemeral_storage"` // GiB, beyond the free 30
	Architecture     string   `toml:"architecture"`      // amd64, arm64
}

// Spot buys the group at the spot price.
type Spot struct {
	Strategy   string  `toml:"strategy"`    // none, as-price-go, price-limit
	PriceLimit float64 `toml:"price_limit"` // per hour, for price-limit
	Duration   int     `toml:"duration"`    // hours without reclaim; 0 is no protection
	Fallback   bool    `toml:"fallback"`
}

// Network is how the group reaches other hosts.
type Network struct {
	AutoEIP          bool                `toml:"auto_eip"`
	EIPBandwidth     int                 `toml:"eip_bandwidth"` // Mbit/s
	EIPID            string              `toml:"eip_id"`
	BandwidthPackage string              `toml:"bandwidth_package"`
	DNSServers       []string            `toml:"dns_servers"`
	HostAliases      map[string][]string `toml:"host_aliases"` // host names by IP address
}

// Group is what else the request to create a group says.
type Group struct {
	ResourceGroupID string            `toml:"resource_group_id"`
	RAMRole         string            `toml:"ram_role"`
	Tags            map[string]string `toml:"tags"`
	Capabilities    []string          `toml:"capabilities"` // added to build's
	Sysctls         Params            `toml:"sysctls"`
	LogService      Params            `toml:"log_service"` // name, project, logstore, ... of ECI's log agent
	Request         Params            `toml:"request"`     // raw parameters, laid over ours
}

// Allow is what a job may ask for. A maximum of 0 or an empty list means that the
// job's variable is ignored, with a line in its log.
type Allow struct {
	Images              []string `toml:"images"`              // globs
	Services            []string `toml:"services"`            // globs
	PrivilegedServices  []string `toml:"privileged_services"` // globs; for an account that ECI has admitted
	MaxCPU              float64  `toml:"max_cpu"`
	MaxMemory           Size     `toml:"max_memory"`
	MaxServices         int      `toml:"max_services"`
	MaxEphemeralStorage int      `toml:"max_ephemeral_storage"` // GiB
	InstanceTypes       []string `toml:"instance_types"`
	Spot                []string `toml:"spot"` // strategies
	RAMRoles            []string `toml:"ram_roles"`
	Users               []string `toml:"users"` // uid or uid:gid
}

// Exec is how scripts get into the group.
type Exec struct {
	Transport        string `toml:"transport"`         // auto, websocket, sync
	SharedConnection bool   `toml:"shared_connection"` // of a job's stages, kept by a relay
}

// Timeouts bound the driver's waiting.
type Timeouts struct {
	Ready         time.Duration `toml:"ready"`          // for all attempts of prepare together
	Delete        time.Duration `toml:"delete"`         // for cleanup
	DeadlineExtra time.Duration `toml:"deadline_extra"` // of the group beyond the job's timeout
	Call          time.Duration `toml:"call"`           // one API call
}

// Debug helps to look at failed jobs.
type Debug struct {
	KeepOnFailure time.Duration `toml:"keep_on_failure"` // of the group; also the most that a job may ask for
}

// Metrics are numbers for a node exporter.
type Metrics struct {
	Textfile string `toml:"textfile"` // "" for none
}
