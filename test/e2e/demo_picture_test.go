package e2e

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	demoPicture = filepath.Join("..", "..", "docs", "demo.svg")
	escape      = regexp.MustCompile("\x1b\\[[0-9;]*[mK]|\r")
	stageLine   = regexp.MustCompile(`^(config|prepare|run [a-z_]+|cleanup) +\d+ ms$`)
	// figures are what differs from one run of the demo to the next.
	figures = regexp.MustCompile(`eci-[0-9a-z]{20}|-a[0-9a-f]{8}\b|127\.0\.0\.1:\d+| *\d+ ms|in [0-9a-zµ.]+s\.$`)
)

// checkPicture holds docs/demo.svg to what the demo has printed: each of its lines must
// come in this order, figures apart. A slow machine may print more lines between them. -update draws it anew.
func checkPicture(t *testing.T, printed string) {
	t.Helper()
	lines := pictured(printed)
	if *update {
		if err := os.WriteFile(demoPicture, []byte(draw(lines)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown := textsOf(t, demoPicture)
	if len(shown) < 30 {
		t.Fatalf("%s shows %d lines only", demoPicture, len(shown))
	}
	var stable []string
	for _, line := range lines {
		stable = append(stable, stableText(line))
	}
	for _, line := range shown {
		if strings.Contains(line, " is ready after ") || strings.Contains(line, " DescribeContainerGroup") || strings.Contains(line, " ExecContainerCommand") {
			continue // their number, order and words are a matter of time
		}
		at := slices.Index(stable, stableText(line))
		if at < 0 {
			t.Errorf("docs/demo.svg shows %q, the demo does not print it there (-update draws it anew):\n%s", line, strings.Join(lines, "\n"))
			return
		}
		stable = stable[at+1:]
	}
}

func stableText(line string) string {
	return figures.ReplaceAllString(escape.ReplaceAllString(line, ""), "_")
}

// pictured is what of the demo's output the picture shows, a line each, escapes left in:
// of the first job most stages, of the others what their authors wrote. The section of
// prepare is shown as GitLab shows it, collapsed; logrus lines come in any order.
func pictured(printed string) []string {
	lines := []string{"$ go run ./cmd/eci-executor demo"}
	var stage []string
	collapsed, jobs := false, 0
	for line := range strings.Lines(printed) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.Contains(line, "section_start:"):
			_, title, _ := strings.Cut(line, "\r")
			stage, collapsed = append(stage, "    | ▸ "+title), true
		case strings.Contains(line, "section_end:"):
			collapsed = false
		case collapsed, strings.HasPrefix(line, "    | time="), strings.Contains(line, "correlation ID"), line == "    | ":
		case strings.HasPrefix(line, "    |"):
			stage = append(stage, line)
		case stageLine.MatchString(line):
			name := strings.TrimSpace(line[:28])
			kept := []string{"prepare", "run build_script", "run after_script", "cleanup"}
			if jobs == 1 {
				kept = append(kept, "config", "run get_sources")
			}
			if slices.Contains(kept, name) {
				lines = append(append(lines, stage...), line)
			}
			stage = nil
		default:
			if strings.HasPrefix(line, "--- job") {
				jobs++
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// draw is an SVG of a terminal, with a background of its own, so it can be read on light
// and on dark pages.
func draw(lines []string) string {
	const columns, lineHeight, top = 104, 17, 52
	height := top + lineHeight*len(lines)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 %d" width="860" role="img" aria-label="eci-executor demo in a terminal">
<!-- drawn by go test ./test/e2e -run 'TestDemo$' -update -->
<style>text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d0d7de; white-space: pre }
.command { fill: #56d364; font-weight: bold } .stage { fill: #79c0ff } .job { fill: #e3b341; font-weight: bold }</style>
<rect width="860" height="%d" rx="8" fill="#161b22"/>
<circle cx="20" cy="18" r="6" fill="#ff5f56"/><circle cx="40" cy="18" r="6" fill="#ffbd2e"/><circle cx="60" cy="18" r="6" fill="#27c93f"/>
`, height, height)
	for i, line := range lines {
		class := ""
		switch {
		case i == 0, strings.Contains(line, "\x1b[32;1m"):
			class = ` class="command"`
		case stageLine.MatchString(line):
			class = ` class="stage"`
		case strings.HasPrefix(line, "--- job"):
			class = ` class="job"`
		}
		text := []rune(escape.ReplaceAllString(line, ""))
		if len(text) > columns {
			text = append(text[:columns-1], '…')
		}
		if len(text) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<text x="16" y="%d" xml:space="preserve"%s>`, top+lineHeight*i, class)
		xml.EscapeText(&b, []byte(string(text))) //nolint:errcheck // a builder takes everything
		b.WriteString("</text>\n")
	}
	return b.String() + "</svg>\n"
}

// textsOf are the lines of an SVG that draw made.
func textsOf(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var svg struct {
		Texts []string `xml:"text"`
	}
	if err := xml.Unmarshal(data, &svg); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return svg.Texts
}
