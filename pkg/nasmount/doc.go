// Package nasmount turns the [[nas]] tables of the driver's file into volumes
// and mounts of a container group: it checks them, fills in the placeholders of
// their paths from values that a job can't choose, and writes them in the two
// forms that ECI knows (sources.md: volumes). Apart from that a Prober tells whether a
// mount target serves a directory, by speaking NFSv3 to it.
//
// All but the Prober is pure: no file, no network, no clock. Nothing here mounts
// anything or keeps the Prober's connection, and the slots behind {concurrent_id} are
// leased elsewhere (pkg/stages/lease.go). A path made here keeps honest jobs apart and
// is no security boundary: any job in the VPC can speak NFS to the mount target
// itself, as the Prober does.
package nasmount
