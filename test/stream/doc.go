// Package stream holds the driver's stream to its promise: whatever happens between
// a script and its log, the log is the script's output byte for byte and the exit
// status the script's own, or the stage is a system failure that says why.
//
// TestMatrix draws stages by seed from every fault and every script, and runs each
// as a stage of a prepared group on the local ECI, with the driver's times 100 times
// shorter. A failure prints the flag that runs its cell again:
//
//	go test ./test/stream -run TestMatrix -cell 'FAULT/SCRIPT/WORLD/SEED'
//	go test ./test/stream -run TestMatrix -seed SEED     the same plan again
//	go test ./test/stream -run TestMatrix -long -timeout 6h     50,000 stages
package stream
