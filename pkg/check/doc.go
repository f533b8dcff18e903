// Package check looks at everything that jobs need on this host, in the region and in
// between, and says of each whether it is right and what to do where it is not: the
// command check. List has the checks; each has a file of its subject.
//
// Checks run at once, each within a limit of time of its own, and one that fails hides
// no other: only those that can't be made without it are skipped, and say so. Nothing
// is changed in the cloud: the calls only read, are dry runs, or name a container group
// that can't exist.
//
// It knows nothing of command lines, and what it writes holds no secret.
package check
