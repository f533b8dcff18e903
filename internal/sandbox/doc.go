// Package sandbox runs container groups on one Linux machine out of plain
// kernel parts: namespaces, overlayfs, pivot_root, cgroups where they can be
// written, capabilities and seccomp. It exists so that pkg/eci/ecitest can run
// what a job asks for with the rights that ECI gives, and no others.
//
// It is no container runtime for production: it pulls no images, has no
// network beyond the group's loopback, and trusts the process that calls it.
//
// A container's first process starts as a re-exec of /proc/self/exe, caught by
// this package's init function before main runs (see init.go); any binary that
// imports the package can therefore start containers. Processes added later
// (Container.Exec) are forked from a thread that has joined the container, so
// they cost no second start of the Go runtime.
package sandbox
