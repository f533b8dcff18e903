package stages

import (
	"fmt"

	"github.com/eci-executor/eci-executor/pkg/nasmount"
)

// DryRun prints the request that Prepare would send first, its secrets masked, a
// parameter a line. It makes no call and writes nothing, so that a slot for
// {concurrent_id} is not leased and the client token not drawn: both are shown by
// what they will be.
func (s *Stage) DryRun() error {
	if nasmount.NeedSlot(s.Config.NAS) {
		s.Job.Slot = "HOST-N"
	}
	spec, err := groupSpec(s.Config, s.Job, s.Clock.Now())
	if err != nil {
		return err
	}
	params := spec.Params()
	params["ClientToken"] = "[drawn when it is sent]"
	for _, line := range params.Redacted().Lines() {
		if _, err := fmt.Fprintln(s.Stdout, line); err != nil {
			return fmt.Errorf("writing the request: %w", err)
		}
	}
	return nil
}
