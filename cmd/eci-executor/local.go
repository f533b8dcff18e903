package main

import "fmt"

// What demo and sim have in common: a driver's file for their local ECI, and a helper
// image without GitLab's helper in it.

const localDriverFile = `region    = "ap-northeast-1"
endpoint  = %q
state_dir = %q
[credentials]
access_key_id     = "local"
access_key_secret = "local-secret"
[build]
image  = %q
cpu    = 2
memory = "4GiB"
[helper]
image = %q
[[nas]]
name       = "cache"
server     = "%s.ap-northeast-1.nas.aliyuncs.com"
path       = "/cache"
mount_path = "/cache"
`

// driverFileFor is an eci-executor.toml for the local ECI at url, whose jobs run in the
// images build and helper and have a NAS directory as /cache. command is demo or sim.
func driverFileFor(command, url, stateDir, build, helper string) string {
	return fmt.Sprintf(localDriverFile, url, stateDir, build, helper, command)
}

const standIn = `#!/bin/sh
[ "$1" = --version ] && { echo "Version: stand-in of eci-executor %s"; exit 0; }
echo "%s" >&2
exit 1
`

// standInRunner is a program that stands where a helper image has gitlab-runner-helper. It
// tells a version, which is enough for jobs without artifacts and cache:, and otherwise
// fails with a line that says what is lacking.
func standInRunner(command, lacking string) []byte {
	return fmt.Appendf(nil, standIn, command, lacking)
}
