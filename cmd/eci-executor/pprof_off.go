//go:build !pprof

package main

// profiled does nothing in what is released: pprof_on.go has the other.
func profiled() (done func()) { return func() {} }
