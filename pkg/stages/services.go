package stages

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/pattern"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

var dnsLabel = pattern.Lazy(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// hostName is a DNS subdomain as Kubernetes checks it.
var hostName = pattern.Lazy(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// AddServices puts the services that the driver's file has for every job before the
// job's own, as the Kubernetes executor does with those of the runner's file.
func (job *Job) AddServices(cfg *config.Config) {
	var services []Image
	for _, s := range cfg.RunnerServices {
		image := Image{Name: s.Name, Entrypoint: s.Entrypoint, Command: s.Command, Operator: true, Aliases: aliasesOf(s.Alias)}
		for _, key := range sortedKeys(s.Variables) {
			image.Variables = append(image.Variables, Variable{Key: key, Value: s.Variables[key]})
		}
		services = append(services, image)
	}
	job.Services = append(services, job.Services...)
}

// ownServices counts those that the job's author has named.
func (job *Job) ownServices() (n int) {
	for _, s := range job.Services {
		if !s.Operator {
			n++
		}
	}
	return n
}

// setServices adds the job's services. They share the group's network, so every
// name of theirs is an alias of 127.0.0.1. They mount the builds directory, as on
// Kubernetes, and the volumes that name them, never those of scripts and logs.
func setServices(spec *eci.GroupSpec, cfg *config.Config, job *Job, mounts []eci.VolumeMount) error {
	var names []string
	containers := serviceNames(job)
	for i, s := range job.Services {
		c, err := service(cfg, job, s)
		if err != nil {
			return err
		}
		c.Name = containers[i]
		c.VolumeMounts = mounts
		spec.Containers = append(spec.Containers, c)
		for _, name := range serviceAliases(s) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 0 { // before the operator's host_aliases: of two lines for a name in a hosts file the first counts
		spec.HostAliases = append([]eci.HostAlias{{IP: "127.0.0.1", Hostnames: names}}, spec.HostAliases...)
	}
	return nil
}

// service is the container of a service, still without a name and mounts.
func service(cfg *config.Config, job *Job, s Image) (eci.Container, error) {
	policies, policyErr := pullPolicies(cfg, s.Name, s.PullPolicy)
	size, sizeErr := withServiceOverwrites(cfg, s)
	uid, gid, userErr := runAs(cfg, s)
	command, args, commandErr := config.ServiceCommand(s.Entrypoint, s.Command)
	if commandErr != nil {
		commandErr = fmt.Errorf("service %q: %w", s.Name, commandErr)
	}
	if err := errors.Join(policyErr, sizeErr, userErr, commandErr); err != nil {
		return eci.Container{}, &BuildError{Message: err.Error()}
	}
	env, _ := serviceEnv(job, s) // leftOut tells
	return eci.Container{
		Image: s.Name, PullPolicy: policies[0],
		Command: command, Args: args,
		Stdin: true, // as on Kubernetes: a shell without a command waits instead of ending
		Env:   env, HideEnv: true,
		CPU: size.CPU, MemoryGiB: size.Memory.GiB(),
		RunAsUser: uid, RunAsGroup: gid, Privileged: allowed(cfg.Allow.PrivilegedServices, s.Name),
	}, nil
}

// serviceNames are the names of the services' containers. No alias takes the svc-N of
// another service.
func serviceNames(job *Job) (names []string) {
	taken := map[string]bool{helperContainer: true, buildContainer: true}
	for i := range job.Services {
		taken[numbered(i)] = true
	}
	for i, s := range job.Services {
		names = append(names, serviceContainer(s, i, taken))
	}
	return names
}

func numbered(i int) string { return fmt.Sprintf("svc-%d", i) }

// serviceContainer is the first alias that is a unique DNS label, else svc-N.
func serviceContainer(s Image, i int, taken map[string]bool) string {
	name := numbered(i)
	for _, alias := range s.Aliases {
		if dnsLabel().MatchString(alias) && !taken[alias] {
			name = alias
			break
		}
	}
	taken[name] = true
	return name
}

// serviceAliases are a service's names: those made of its image as it is written,
// without port and tag, with / as __ and as -, as far as they are names that Kubernetes
// takes, then the declared ones (sources.md: runner; host_aliases.go).
func serviceAliases(s Image) []string {
	var names []string
	if ref, err := reference.Parse(s.Name); err == nil {
		if named, ok := ref.(reference.Named); ok {
			domain, path, _ := strings.Cut(named.Name(), "/")
			domain, _, _ = strings.Cut(domain, ":") // a port is no part of a host name
			name := strings.TrimSuffix(domain+"/"+path, "/")
			names = append(names, strings.ReplaceAll(name, "/", "__"))
			if dashed := strings.ReplaceAll(name, "/", "-"); dashed != names[0] {
				names = append(names, dashed)
			}
			names = slices.DeleteFunc(names, func(name string) bool { return !hostName().MatchString(name) })
		}
	}
	return append(names, s.Aliases...)
}

// serviceEnv is what a service may know: the job's public variables and its own, as
// far as ECI takes them, of all at most envMost. leftOut tells of the rest; where there
// are too many, missed are those that are left out for it, GitLab's own first.
func serviceEnv(job *Job, s Image) (env []eci.EnvVar, missed []string) {
	values := map[string]string{}
	for _, v := range slices.Concat(job.PublicVariables, s.Variables) {
		values[v.Key] = v.Value
	}
	keys := slices.DeleteFunc(sortedKeys(values), func(key string) bool {
		return !inEnv(Variable{Key: key, Value: values[key]})
	})
	if len(keys) > envMost {
		rank := func(key string) int {
			switch {
			case s.has(key):
				return 0
			case !strings.HasPrefix(key, "CI_") && !strings.HasPrefix(key, "GITLAB_"):
				return 1
			}
			return 2
		}
		slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
		keys, missed = keys[:envMost], keys[envMost:]
		slices.Sort(keys)
	}
	for _, key := range keys {
		env = append(env, eci.EnvVar{Name: key, Value: values[key]})
	}
	return env, missed
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
