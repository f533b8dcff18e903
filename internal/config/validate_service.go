package config

import (
	"unicode/utf8"

	"github.com/distribution/reference"
)

// ServicesMost is how many services a group has room for: ECI takes 20 containers
// (sources.md: limits), and helper and build are two.
const ServicesMost = 18

func (v *validator) runnerServices() {
	for i, s := range v.cfg.RunnerServices {
		at := index("runner_service", i)
		if i == ServicesMost {
			v.add(at, "is service %d, and a container group has room for %d", i+1, ServicesMost)
		}
		if _, err := reference.ParseDockerRef(s.Name); err != nil {
			v.add(at+".name", "%q is no image, such as \"postgres:16\"", s.Name)
		}
		if _, _, err := ServiceCommand(s.Entrypoint, s.Command); err != nil {
			key := at + ".command"
			if whole := !Cleared(s.Entrypoint) || len(s.Command) == 0; whole && CheckWords(s.Entrypoint, nil) != nil {
				key = at + ".entrypoint"
			}
			v.add(key, "%v", err)
		}
		for name, value := range s.Variables {
			if !EnvName(name) || utf8.RuneCountInString(value) > EnvValueMax {
				v.add(at+".variables."+name, "ECI takes names of letters, digits and _, and values of at most %d characters", EnvValueMax)
			}
		}
	}
}
