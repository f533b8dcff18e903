package stream

import (
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// TestSilenceUnscaled: at the driver's own times, a script that is silent for longer
// than ECI keeps a silent socket keeps its connection, by pings or by beats, and the
// API is asked once a minute how the group is.
func TestSilenceUnscaled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 90 s")
	}
	for _, k := range []kind{
		{name: "pings count"},
		{name: "pings do not count", switches: ecitest.Switches{ExecPingsIgnored: true}},
		{name: "FIFOs apart", switches: ecitest.Switches{FIFOsApart: true}},
		{name: "sync", transport: "sync"},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k, options := scaled(k, 1)
			w := newWorld(t, k, options, remote.DefaultSettings())
			w.prepare()
			asked := w.calls("DescribeContainerGroups")
			o := w.run("build_script", "echo before; sleep 90; echo after; exit 3", 5*time.Minute)
			execs := 1
			if k.bySync() {
				execs = 15 // each is a look of 10 s
			}
			if scriptStatus(o) != 3 || string(o.log) != "before\nafter\n" || o.execs > execs {
				t.Errorf("status %d, log %q, %d execs, %v\n%s", scriptStatus(o), o.log, o.execs, o.err, o.driver)
			}
			asked = w.calls("DescribeContainerGroups") - asked
			if most := int(o.took / time.Minute); asked > most {
				t.Errorf("the API was asked %d times in %s", asked, o.took)
			}
			w.cleanup()
		})
	}
}
