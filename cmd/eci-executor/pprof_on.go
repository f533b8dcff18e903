//go:build pprof

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profiled writes a CPU profile of this process to the directory that
// ECI_EXECUTOR_PPROF names, for `go run ./test/bench -pprof DIR`: with the build tag
// pprof alone. Most stages take few milliseconds, so it samples as often as timers go.
func profiled() (done func()) {
	f, err := os.Create(filepath.Join(os.Getenv("ECI_EXECUTOR_PPROF"), fmt.Sprintf("%d.pprof", os.Getpid())))
	if err != nil {
		panic(err)
	}
	runtime.SetCPUProfileRate(1000)
	if err := pprof.StartCPUProfile(f); err != nil {
		panic(err)
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close() //nolint:errcheck // the bench reads it and says what is wrong
	}
}
