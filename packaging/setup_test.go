package packaging

import (
	"regexp"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/testdoc"
)

// The lines of check by which docs/setup.md has its steps confirmed are there, and each
// line of check confirms a step.
func TestSetupNamesChecks(t *testing.T) {
	checks := map[string]bool{}
	for _, row := range testdoc.Rows(t, "../docs/check.md") {
		if name := testdoc.Code(row.Cell("check")); len(name) == 1 {
			checks[name[0]] = false
		}
	}
	if len(checks) < 10 {
		t.Fatalf("docs/check.md has %v: that can't be all", checks)
	}
	live := read(t, "docs/check.md")
	setup := read(t, "docs/setup.md")
	for _, line := range regexp.MustCompile(`(?m)^\*Confirms it:\*.*$`).FindAllString(setup, -1) {
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(line, -1) {
			name := m[1]
			switch _, known := checks[name]; {
			case known:
				checks[name] = true
			case name == "ram-":
				for check := range checks {
					checks[check] = checks[check] || strings.HasPrefix(check, name)
				}
			case !strings.Contains(live, "`"+name+"`"):
				t.Errorf("docs/setup.md has a step confirmed by %q, which check does not print", name)
			}
		}
	}
	for check, used := range checks {
		if explained := strings.Contains(setup, "`"+check+"`"); !used && !explained {
			t.Errorf("no step of docs/setup.md is confirmed by %q", check)
		}
	}
}

// The settings of docs/setup.md are a driver's file that loads.
func TestSetupSettings(t *testing.T) {
	text := between(t, read(t, "docs/setup.md"), "```toml\n", "```")
	if _, err := config.Parse("setup.md", []byte(text)); err != nil {
		t.Error(err)
	}
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, text, ok := strings.Cut(text, from)
	text, _, closed := strings.Cut(text, to)
	if !ok || !closed {
		t.Fatalf("nothing between %q and %q", from, to)
	}
	return text
}
