// Package testport has TCP ports of this machine for tests. It serves nothing on them.
package testport

import (
	"fmt"
	"syscall"
	"testing"
)

// Taken is a socket that has a port of 127.0.0.1 for the time of the test and does not
// listen: so the port is closed, and nobody else can open it, as one that was let go may be
// given to another test.
func Taken(t testing.TB) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) }) //nolint:errcheck // it has served
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// Closed is an address where nobody listens, nor will for the time of the test.
func Closed(t testing.TB) string {
	t.Helper()
	_, address := Taken(t)
	return address
}
