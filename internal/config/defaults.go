package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// defaultHelperImage is the runner's own image for git, cache and artifacts. Its tags
// name the architecture as uname -m does, save arm64.
const defaultHelperImage = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper:{arch}-v{runner_version}"

// Default is what an empty file means. It is not valid by itself: region is required.
func Default() *Config {
	return &Config{
		VSwitchStrategy: "ordered",
		StateDir:        "/var/lib/eci-executor",
		BuildsDir:       "/builds",
		CacheDir:        "/cache",
		Shell:           "bash",
		Build:           Build{CPU: 2, Memory: 4 * GiB, BuildsMedium: "disk"},
		Helper:          Helper{Image: defaultHelperImage},
		Pull:            Pull{AllowedPolicies: []string{"always", "if-not-present"}},
		ImageCache:      ImageCache{AutoMatch: true},
		RegistrySecret:  RegistrySecret{MountPath: "/root/.docker"},
		Capacity:        Capacity{Architecture: "amd64"},
		Spot:            Spot{Strategy: "none", Duration: 1, Fallback: true},
		Network:         Network{EIPBandwidth: 5},
		Allow: Allow{
			Images:      []string{"**"},
			Services:    []string{"**"},
			MaxCPU:      8,
			MaxMemory:   32 * GiB,
			MaxServices: 8,
		},
		Exec: Exec{Transport: "auto", SharedConnection: true},
		Timeouts: Timeouts{
			Ready:         10 * time.Minute,
			Delete:        30 * time.Second,
			DeadlineExtra: 10 * time.Minute,
			Call:          15 * time.Second,
		},
	}
}

// newElement is an array's table of type t with nothing written in it.
func newElement(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	if t == reflect.TypeFor[nasmount.Mount]() {
		v.Set(reflect.ValueOf(nasmount.Default()))
	}
	return v
}

// setContainers is where volumes go whose tables do not say it. An EmptyDir holds only
// what the job's own containers put there, and so goes into all of them, as every volume
// does under the Kubernetes executor; files and buckets are not given to the images of
// services, which authors choose, unless the table names them.
func (c *Config) setContainers() {
	for i := range c.Volumes {
		v := &c.Volumes[i]
		if v.Containers != nil {
			continue
		}
		v.Containers = []string{nasmount.Helper, nasmount.Build}
		if v.Type == VolumeEmptyDir {
			v.Containers = append(v.Containers, nasmount.Service)
		}
	}
}

// EndpointURL is the URL of the API: the one of the file, else the region's endpoint
// inside the VPC, which needs no public address.
func (c *Config) EndpointURL() string {
	if c.Endpoint != "" {
		return strings.TrimSuffix(c.Endpoint, "/")
	}
	return "https://eci-vpc." + c.Region + ".aliyuncs.com"
}

// In is the file as it would be for another region, where groups may be left from before the
// file named this one. It is nil where the endpoint holds no region's name that could be
// replaced.
func (c *Config) In(region string) *Config {
	other := *c
	other.Region = region
	other.Endpoint = strings.Replace(c.Endpoint, "."+c.Region+".", "."+region+".", 1)
	if c.Endpoint != "" && other.Endpoint == c.Endpoint {
		return nil
	}
	return &other
}

// ImageFor fills in the placeholders of the helper's image: {arch} from arch, a Go
// architecture name, and {runner_version} from the runner's version, with or without
// its v.
func (h Helper) ImageFor(arch, runnerVersion string) string {
	if arch == "amd64" {
		arch = "x86_64"
	}
	return strings.NewReplacer(
		"{arch}", arch,
		"{runner_version}", strings.TrimPrefix(runnerVersion, "v"),
	).Replace(h.Image)
}
