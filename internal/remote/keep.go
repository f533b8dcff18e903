package remote

import (
	"fmt"
	"time"
)

// EndIn is a script for helper that has the PID 1s of helper and build end after a
// while, in whole seconds, and with them their containers.
func EndIn(after time.Duration) Job {
	return Job{Role: Helper, Shell: "sh", Body: fmt.Appendf(nil, "echo %d >%s/keep\n", int64(after.Seconds()), ControlDir)}
}
