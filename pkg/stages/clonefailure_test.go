package stages_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// A clone that can't reach GitLab says what a group needs to, and keeps the status.
func TestCloneThatCannotReachGitLab(t *testing.T) {
	t.Parallel()
	const url = "https://gitlab.example.com/group/app.git/"
	tests := []struct {
		name, stage, said string
		told              bool
	}{
		{"no name", "get_sources", "fatal: unable to access '" + url + "': Could not resolve host: gitlab.example.com", true},
		{"no way", "get_sources", "fatal: unable to access '" + url + "': Failed to connect to gitlab.example.com port 443 after 130000 ms: Couldn't connect to server", true},
		{"by ssh", "get_sources", "ssh: connect to host gitlab.example.com port 22: Connection timed out", true},
		{"then more", "get_sources", "fatal: Could not resolve host: x\n" + strings.Repeat("retry\n", 100), true},
		{"another failure", "get_sources", "fatal: couldn't find remote ref main", false},
		{"the author's own", "step_script", "curl: (6) Could not resolve host: example.com", false},
	}
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, err := w.run(t, tt.stage, fmt.Sprintf("cat <<'E'\n%s\nE\nexit 128", tt.said))
			var build *stages.BuildError
			if !errors.As(err, &build) || build.Status != 128 || log != tt.said+"\n" {
				t.Fatalf("%v, log %q", err, log)
			}
			if told := strings.Contains(build.Message, "can't reach gitlab.example.com") && strings.Contains(build.Message, "auto_eip"); told != tt.told {
				t.Errorf("it says %q", build.Message)
			}
		})
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
