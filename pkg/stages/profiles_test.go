package stages_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// core is what must hold whatever ECI is like.
func core() []struct {
	name string
	test func(*testing.T, *world)
} {
	return []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"a log and a status", func(t *testing.T, w *world) { w.lifecycle(t) }},
		{"all sub-stages", func(t *testing.T, w *world) {
			jobByHand(t, w)
			if err := w.cleanup(t); err != nil {
				t.Error(err)
			}
		}},
		{"a large script", largeScript},
		{"run without prepare", runWithoutPrepare},
		{"no secret leaves the stream", noSecretLeavesTheStream},
		{"a stop", stopEmptiesTheContainerAndKeepsTheGroup},
		{"a lost stream", lostStream},
		{"a lost answer", createIsSentAgainWithTheSameToken},
		{"prepare interrupted", prepareInterruptedInTheCreateCall},
		{"an image that can't be pulled", imageThatCannotBePulled},
		{"the death of build", deathOfTheGroupIsTold},
		{"a group deleted behind the driver", deletedBehindTheDriver},
		{"a spot instance reclaimed", reclaimed},
		{"cleanup without a record", cleanupFindsAGroupWhoseIDWasNeverSaved},
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, profile := range ecitest.Profiles() {
		switches, err := ecitest.Profile(profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range core() {
			t.Run(profile+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				tt.test(t, newWorld(t, ecitest.Options{Switches: switches}))
			})
		}
	}
}

// largeScript is sent in many messages.
func largeScript(t *testing.T, w *world) {
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if log, err := w.run(t, "build_script", ": "+strings.Repeat("x", 200_000)+"\necho done"); err != nil || log != "done\n" {
		t.Errorf("log %q, %v", log, err)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
}

// lostStream loses the first connections at various points of log and upload.
func lostStream(t *testing.T, w *world) {
	w.server.SetFaults(faults(t, "exec:drop=700,times=3", "exec:stdin-cut=20,times=1", "exec:refuse,skip=3,times=1"))
	w.lifecycle(t)
}

// deletedBehindTheDriver has a group deleted while its script runs.
func deletedBehindTheDriver(t *testing.T, w *world) {
	err := w.runUntil(t, w.server.DeleteGroup)
	var build *stages.BuildError
	if err == nil || errors.As(err, &build) {
		t.Errorf("error %v, want a system failure", err)
	}
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
}

func reclaimed(t *testing.T, w *world) {
	err := w.runUntil(t, func(id string) error { return w.server.ReclaimGroup(id, 0) })
	wantError(t, err, "SpotToBeReleased")
	if err := w.cleanup(t); err != nil {
		t.Error(err)
	}
}
