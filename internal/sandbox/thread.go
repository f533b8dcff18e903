package sandbox

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on an OS thread that ends with it, so that f may change
// the thread's namespaces, rights and root. Never on the main thread: that one
// can't end, and /proc/self describes the whole process by it.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // still locked on return: the runtime ends the thread
			return
		}
		done := make(chan struct{})
		onOwnThread(func() { defer close(done); f() })
		<-done
		runtime.UnlockOSThread()
	}()
}
