package stages_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// TestStoryOfAPrepare: what a person reads of two jobs, whose image no cache has at
// first. To the letter it stands in the golden files of TestStories; this holds that
// the API's answers get there.
func TestStoryOfAPrepare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{Delays: ecitest.Delays{Pull: 500 * time.Millisecond}})
	w.config.Build.CPU, w.config.Build.Memory = 2, 3<<30
	w.config.Pull.Policy = []string{"if-not-present"}
	w.config.Spot = config.Spot{Strategy: "as-price-go", Duration: 1}
	for i, attempt := range []string{"0123abcd", "0123abce"} {
		w.env.Attempt = attempt
		log, err := w.prepare(t)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		section, after, _ := strings.Cut(log, "section_end")
		for _, want := range []string{
			`section_start:\d+:eci_container_group\[collapsed=true\]`,
			`Asked for: 2 vCPU, 3 GiB, spot at the market price; in the first of vSwitches vsw-1, vsw-2`,
			`Container group eci-\w+ was accepted after \d`,
			`Placed in zone \S+, vSwitch vsw-1`,
			`Billed as 2 vCPU, 4 GiB \(asked for 2 vCPU, 3 GiB\)`,
			`Times: create \d+\.\d s, .*; \d+\.\d s in all`,
			[]string{"no image cache fits", "an image cache is used"}[i],
			[]string{"build: Successfully pulled", "Note: the tag of host moves, and the image came from a cache"}[i],
			`build: Started container build`,
		} {
			if n := len(regexp.MustCompile(want).FindAllString(section, -1)); n != 1 {
				t.Errorf("%d times %q in\n%s", n, want, section)
			}
		}
		if want := `^\S+\r\x1b\[0K\nContainer group eci-\w+ is ready after \S+ s: 2 vCPU, 4 GiB in \S+, spot at the market price`; !regexp.MustCompile(want).MatchString(after) {
			t.Errorf("behind the section stands %q, want %q", after, want)
		}
		if err := w.cleanup(t); err != nil {
			t.Fatal(err)
		}
	}
}
