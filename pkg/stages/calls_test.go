package stages_test

import (
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// A job of six stages makes 10 calls besides polling: one to create its group, one for
// the price, which its host keeps for a day, one exec a stage, one to delete the group,
// and one to find any other of the attempt. Alone on its host it polls 15 times at most.
func TestCallsOfAJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{
		Faults: ecitest.Faults{Group: func(int) ecitest.GroupFault { return ecitest.GroupFault{Schedule: 3 * time.Second} }},
	})
	w.remote.Idle, w.remote.Diagnose = time.Minute, time.Minute // a busy machine costs no connection and no look
	for i, prices := range []int{1, 0} {
		before, polled := w.calls(), w.polls()
		v := w.another(t, 100+i)
		if out, err := v.prepare(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, stage := range []string{"prepare_script", "get_sources", "build_script", "after_script", "upload_artifacts_on_success", "cleanup_file_variables"} {
			if out, err := v.run(t, stage, "echo done"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if err := v.cleanup(t); err != nil {
			t.Fatal(err)
		}
		polls := w.polls() - polled
		want := map[string]int{"CreateContainerGroup": 1, "DeleteContainerGroup": 1, "DescribeContainerGroups": 1 + polls,
			"ExecContainerCommand": 6, "DescribeContainerGroupPrice": prices}
		for action, n := range w.calls() {
			if n -= before[action]; n != want[action] {
				t.Errorf("job %d: %d times %s, want %d", i, n, action, want[action])
			}
		}
		if polls > 15 {
			t.Errorf("job %d: %d polls, want at most 15", i, polls)
		}
		t.Logf("job %d: %d polls", i, polls)
	}
}

// polls counts the looks at single groups.
func (w *world) polls() (n int) {
	for _, c := range w.server.Calls() {
		if c.Action == "DescribeContainerGroups" && c.Params.Has("ContainerGroupIds") {
			n++
		}
	}
	return n
}
