// lock FILE takes the kind of lock that Java, and so Maven, takes: exclusive, of
// POSIX, over the whole file. It exits with 1 where another process has it, else
// says "held" and holds it until its stdin ends.
package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

func main() {
	f, err := os.OpenFile(os.Args[1], os.O_RDWR|os.O_CREATE, 0o666)
	if err == nil {
		err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
