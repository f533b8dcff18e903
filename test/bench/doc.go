// Command bench measures what the driver costs, beside the floor of the custom
// executor's protocol, in one run on one machine:
//
//	go run ./test/bench
//
// It builds the driver as it is released and calls its stages as a runner does, each a
// process of its own, against the local ECI with real containers. The floor is two
// things: a driver that does nothing but run `bash "$1"` on the host, and the same
// script in the same container by a bare exec. The profile zero answers at once; cloud
// has the cloud's times (API call 120 ms +-30, dial 80 ms, scheduling of 3 to 30 s,
// pulls as given by -pull). docs/performance.md explains the rows.
package main
