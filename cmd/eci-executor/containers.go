package main

import (
	"fmt"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// withContainers runs f where containers can be run: as an unprivileged user that
// is a copy of this process in a namespace of its own. name is the command's.
func withContainers(name string, f func() error) error {
	if err := sandbox.Supported(); err != nil {
		return fmt.Errorf("%s runs containers, and this host does not let it: %w", name, err)
	}
	done, code, err := sandbox.EnterUserNamespace()
	switch {
	case err != nil:
		return err
	case done && code != 0:
		return fmt.Errorf("%s failed", name)
	case done:
		return nil
	}
	return f()
}
