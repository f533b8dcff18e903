package stages

import (
	"slices"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
)

// The names of services as the Kubernetes executor has them (host_aliases.go and
// helpers/container/services of the runner).
func TestServiceAliases(t *testing.T) {
	tests := []struct {
		name, image string
		declared    []string
		want        []string
	}{
		{"of Docker Hub", "postgres:16", nil, []string{"postgres"}},
		{"with a path", "tutum/wordpress", nil, []string{"tutum-wordpress"}},
		{"written out in full", "docker.io/library/postgres:16", nil, []string{"docker.io-library-postgres"}},
		{"port, tag and digest", "registry.example.com:5000/team/db:1@sha256:" + zeros, nil, []string{"registry.example.com-team-db"}},
		{"letters of no host name", "Registry.example.com/team/my_db", nil, nil},
		{"declared ones as they are", "redis", []string{"cache", "Bad_Name"}, []string{"redis", "cache", "Bad_Name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := serviceAliases(Image{Name: tt.image, Aliases: tt.declared}); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The name of each container is its own, whatever aliases authors think of.
func TestServiceContainerNames(t *testing.T) {
	tests := []struct {
		name    string
		aliases [][]string
		want    []string
	}{
		{"none", [][]string{nil, nil}, []string{"svc-0", "svc-1"}},
		{"the first that is a DNS label", [][]string{{"Db", "my_db", "db"}, {"cache", "db"}}, []string{"db", "cache"}},
		{"one for two", [][]string{{"db"}, {"db"}, {"db", "db2"}}, []string{"db", "svc-1", "db2"}},
		{"those of the driver's containers", [][]string{{"helper"}, {"build"}}, []string{"svc-0", "svc-1"}},
		{"the number of a later service", [][]string{{"svc-1"}, nil}, []string{"svc-0", "svc-1"}},
		{"numbers changed over", [][]string{{"svc-1"}, {"svc-0"}, {"svc-7"}}, []string{"svc-0", "svc-1", "svc-7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			job := someJob()
			for _, aliases := range tt.aliases {
				job.Services = append(job.Services, Image{Name: "redis", Aliases: aliases})
			}
			if got := serviceNames(job); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// A name that several services have is sent once.
func TestServicesOfOneName(t *testing.T) {
	cfg, err := config.Parse("test.toml", []byte(smallDriverFile))
	if err != nil {
		t.Fatal(err)
	}
	job := someJob()
	job.Services = []Image{{Name: "redis:7", Aliases: []string{"cache"}}, {Name: "redis:6", Aliases: []string{"queue", "cache", "queue"}}}
	spec, err := groupSpec(cfg, job, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"redis", "cache", "queue"}; len(spec.HostAliases) != 1 || !slices.Equal(spec.HostAliases[0].Hostnames, want) {
		t.Errorf("host aliases %+v, want %q", spec.HostAliases, want)
	}
}

// A job's service goes over a host of the operator's of the same name.
func TestServiceOverHostAlias(t *testing.T) {
	cfg, err := config.Parse("test.toml", []byte(smallDriverFile+"[network]\nhost_aliases = { \"10.0.0.9\" = [\"postgres\"] }\n"))
	if err != nil {
		t.Fatal(err)
	}
	job := someJob()
	job.Services = []Image{{Name: "postgres:16"}}
	spec, err := groupSpec(cfg, job, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.HostAliases) != 2 || spec.HostAliases[0].IP != "127.0.0.1" {
		t.Errorf("host aliases %+v, want the service's first", spec.HostAliases)
	}
}
