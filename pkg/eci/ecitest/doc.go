// Package ecitest is a local ECI: an HTTP server that answers the part of
// Alibaba Cloud's Elastic Container Instance API (version 2018-08-08) that a CI
// driver uses, and that runs every container for real, in Linux namespaces of
// this machine (internal/sandbox).
//
// It imitates: the RPC protocol with its V1 signature, parameters in query or
// form body, error codes and shapes; the documented limits; idempotent client
// tokens; group and container states, events, restarts, the active deadline and
// the grace period; EmptyDir, ConfigFile, NFS and alicloud/nas volumes, with NAS
// directories that outlive groups and servers; exec over a WebSocket with
// single-use addresses and channel bytes. Whatever the references leave open is
// a field of Switches, which Profile sets all at once. Faults breaks calls, execs
// and groups on request, by code or by Rules, which have a text form.
//
// It does not imitate: the ACS3 signature of the newer SDKs, RAM policies,
// quotas, prices and rate limits; VPCs, vSwitches and addresses (a group has its
// loopback, and what Options.Forward names); init containers, probes and
// lifecycle handlers (refused); image registries and caches (images come from
// Options.Images); disks and OSS.
//
// Only tests, `demo` and `sim` import this package.
package ecitest
