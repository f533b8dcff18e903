package stages

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/eci-executor/eci-executor/internal/config"
)

// All containers of a group share one network, so a port is there once. Some are
// ECI's own (sources.md: limits).
func reservedPort(port int) bool { return port == 111 || port == 10250 || port == 10255 }

// checkServices says what of the job's services can't work here.
func checkServices(cfg *config.Config, job *Job) error {
	holders := map[int]int{} // port: the service that has it
	names := serviceNames(job)
	for i, s := range job.Services {
		if isDind(s.Name) && !privileged(cfg, s, i) {
			return buildErrorf("service %q needs a privileged container, which ECI does not give: build images with kaniko or buildah, which need no daemon, "+
				"or set DOCKER_HOST to a Docker daemon elsewhere and leave the service out", s.Name)
		}
		ports, err := declaredPorts(s)
		if err != nil {
			return buildErrorf("service %q: %v", s.Name, err)
		}
		for _, port := range ports {
			other, taken := holders[port]
			switch {
			case reservedPort(port):
				return buildErrorf("service %q declares port %d, which ECI uses itself: let it listen on another one", s.Name, port)
			case taken && other != i:
				return buildErrorf("the services %s (%q) and %s (%q) both declare port %d, but all containers of a job share one network: let one of them listen on another port",
					names[other], job.Services[other].Name, names[i], s.Name, port)
			}
			holders[port] = i
		}
	}
	if port := job.Variable(healthPortVariable); port != "" && len(job.Services) > 0 {
		if _, err := portNumber(port); err != nil {
			return buildErrorf("the variable %s: %v", healthPortVariable, err)
		}
	}
	return nil
}

// declaredPorts are the ports that a service says it listens on.
func declaredPorts(s Image) ([]int, error) {
	ports := s.Ports
	if own := s.own(healthPortVariable); own != "" {
		port, err := portNumber(own)
		if err != nil {
			return nil, fmt.Errorf("its variable %s: %w", healthPortVariable, err)
		}
		ports = append(slices.Clip(ports), port)
	}
	return ports, nil
}

func portNumber(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is no port, 1 to 65535", text)
	}
	return int(port), nil
}

// isDind tells whether an image is that of a Docker daemon: docker:dind,
// docker:28-dind, docker:dind-rootless, and mirrors of them.
func isDind(image string) bool {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	tagged, ok := ref.(reference.Tagged)
	path := reference.Path(ref)
	return ok && path[strings.LastIndexByte(path, '/')+1:] == "docker" && strings.Contains("-"+tagged.Tag()+"-", "-dind-")
}

// privileged tells whether the driver's file makes the i-th service privileged, for an
// account that may: by its image, or by a raw parameter of the request.
func privileged(cfg *config.Config, service Image, i int) bool {
	raw := cfg.Group.Request[fmt.Sprintf("Container.%d.SecurityContextPrivileged", i+3)] // behind helper and build
	on, err := strconv.ParseBool(raw)
	return allowed(cfg.Allow.PrivilegedServices, service.Name) || err == nil && on
}
