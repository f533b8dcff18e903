package check

import "time"

// List has the checks in the order of the report; docs/check.md shows it.
func List() []Check {
	list := []Check{
		{Name: "file", What: "the driver's file: every mistake, and whether others can read a secret in it", Limit: 5 * time.Second, look: file},
		{Name: "state-dir", What: "`state_dir`: owner, mode 0700, free space", Needs: []string{"file"}, Limit: 5 * time.Second, look: stateDir},
		{Name: "endpoint", What: "the API's endpoint answers, and this host's clock agrees with its", Needs: []string{"file"}, Limit: callLimit, look: endpoint},
		{Name: "credentials", What: "the access key: where it comes from, whether a signed call is accepted, and whose it is (STS)", Needs: []string{"endpoint"}, Limit: callLimit, look: credentials},
		{Name: "region", What: "ECI is sold in `region`", Needs: []string{"credentials"}, Limit: callLimit, look: region},
		{Name: "ram-create", What: "the RAM action `eci:CreateContainerGroup`, by a dry run", Needs: []string{"credentials"}, After: []string{"helper"}, Limit: callLimit, look: create},
	}
	for _, a := range actions() {
		what := "the RAM action `eci:" + a.name + "`"
		if a.lacks != "" {
			what += "; without it " + a.lacks
		}
		list = append(list, Check{Name: a.check, What: what, Needs: []string{"credentials"}, Limit: callLimit, look: a.look})
	}
	return append(list,
		Check{Name: "request", What: "ECI accepts the request that a job would send, by a dry run", Needs: []string{"ram-create"}, Limit: callLimit, look: request},
		Check{Name: "network", What: "each vSwitch with the security group, by a dry run", Needs: []string{"ram-create"}, Limit: 2 * callLimit, look: network},
		Check{Name: "quota", What: "the region's vCPU quota against `concurrent` times the size of a group", Needs: []string{"credentials"}, After: []string{"runner", "helper"}, Limit: callLimit, look: quota},
		Check{Name: "stock", What: "zones that have each size or instance type", Needs: []string{"credentials"}, After: []string{"helper"}, Limit: callLimit, look: stock},
		Check{Name: "websocket", What: "the host of exec's connections can be reached", Needs: []string{"file"}, Limit: callLimit, look: execHost},
		Check{Name: "nas", What: "each `[[nas]]` mount target, spoken to in NFSv3: export, a file written and removed, round-trip time", Needs: []string{"file"}, Limit: callLimit, look: nas},
		Check{Name: "files", What: "files of this host that each job gets by `[[volume]]`: there, readable, not too big", Needs: []string{"file"}, Limit: 5 * time.Second, look: files},
		Check{Name: "helper", What: "`[helper] image` against the runner's version", Needs: []string{"file"}, Limit: 10 * time.Second, look: helper},
		Check{Name: "registry", What: "each registry of the driver's file: its API, the credentials, the images of helper and build", Needs: []string{"file"}, After: []string{"helper"}, Limit: callLimit, look: registries},
		Check{Name: "runner", What: "the runner's `config.toml`: `[runners.custom]`, timeouts and their relations, what both files say", Needs: []string{"file"}, Limit: 5 * time.Second, look: runner},
		Check{Name: "timer", What: "systemd's timer for `reap`: enabled, its last and its next run", Limit: 10 * time.Second, look: timer},
	)
}
