// Package ecitest is a local ECI: an HTTP server that answers the part of Alibaba
// Cloud's Elastic Container Instance API (version 2018-08-08) that a CI driver uses,
// and that runs every container for real, in Linux namespaces of this machine
// (internal/sandbox). Each action stands in a file of its own: actions.go lists them, a
// file begins with the action's parameters and its documented rate. What no action has
// fails by name: init containers, probes, lifecycle handlers, disks, data caches, fixed
// addresses.
//
// Real: the RPC protocol, parameters in query or form body, the signatures of both
// generations of SDKs (auth.go); the documented limits, error codes, HTTP statuses and
// shapes of answers; unknown parameters, gaps in lists and repeated parameters are
// refused; client tokens (tokens.go) and rates (rates.go); group and container states,
// events, restarts, the active deadline, the grace period and how long ended groups are
// listed; sizes rounded as they are billed; the order in which vSwitches and types are
// tried, and what is refused for lack of stock, addresses or quota (stock.go);
// EmptyDir, ConfigFile, NFS, alicloud/nas and alicloud/oss volumes, with directories
// for NAS and buckets that outlive groups and servers; exec over a WebSocket with
// single-use addresses and channel bytes, and Sync; the log of PID 1, and what the log
// agent collects for Log Service (Server.Collected); limits of CPU and memory where
// this machine's cgroups can be written, kills for memory, capabilities, the system's
// ports; images from OCI layouts and registries (Options.Layouts, Options.Pull), with
// their USER, ENTRYPOINT, CMD, WORKDIR, ENV and STOPSIGNAL as under a kubelet, pull
// policies, pull credentials and the words of failed pulls; image caches, their quotas
// and what they do for a group.
//
// Simplified: a group has its loopback alone, and what Options.Forward names, so that
// EIPs, bandwidth, IPv6, DNS, NTP and security groups are checked and shown but do
// nothing; so are GPUs and their drivers, sysctls, CPU options, the core pattern, the
// resource view and the overhead reservation. Sizes are those of all regions; an ECS
// type's shape is read off its name (families c, g and r), and there are a few types
// with GPUs. Spot instances are reclaimed by Faults alone. A cache holds an image or
// does not: layers and tags are not compared. A NAS or a bucket is a directory of this
// machine: there are no mount options, locks, permission groups or keys, and nothing is
// far away. RAM policies, arrears and the like are not imitated, but Faults gives any
// call any error. AcrRegistryInfo is checked and logs in nowhere; images of
// Options.Images, directories of this machine, come from no registry.
//
// Guessed, where nothing says it: the codes InvalidParameter for a wrong value,
// InvalidParameter.NotFound (404) for an unknown group, container, cache or zone,
// InvalidVSwitchId.NotFound (404), UnsupportedOperation for what is not imitated; that
// a type with GPUs takes a container that asks for some; that a declared Port of those
// that the system uses is refused, and the message of an OOMKilled event; that a client
// token belongs to an action and a region; which events tell of lacking capacity, and
// the source of each event; greatest Limit of the calls that document only a default;
// what a spot instance costs. What a driver could depend on is a field of Switches
// instead; its zero value is the reading nearest to the documentation. Faults breaks
// calls and streams on request.
//
// Only tests, `demo` and `sim` import this package.
package ecitest
