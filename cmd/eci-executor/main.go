// Command eci-executor runs GitLab CI jobs as container groups of Alibaba Cloud
// ECI: the driver of GitLab Runner's custom executor, and the tools around it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	done := profiled()
	status := run(ctx, process{args: os.Args, environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	done()
	stop()
	os.Exit(status)
}
