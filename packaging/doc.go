// Package packaging holds what a release consists of beside the program: the deb and
// the rpm (nfpm.yaml, made by package), their scripts, systemd units, the RAM policy.
// It has no code but the tests that install and hold them.
package packaging
