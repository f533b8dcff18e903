//go:build race

package ecitest_test

// raced says that the race detector runs, whose memory is several times a program's own.
const raced = true
