package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// width of the column of the checks' names.
const width = 16

// String is the line as a person reads it, with its advice below.
func (l Line) String() string {
	text := fmt.Sprintf("%-8s %-*s %s\n", l.Status, width, l.Check, strings.ReplaceAll(l.Text, "\n", " "))
	if l.Advice != "" {
		text += fmt.Sprintf("%*s -> %s\n", 9+width, "", l.Advice)
	}
	return text
}

// Summary counts the lines.
func (r *Report) Summary() string {
	count := map[Status]int{}
	for _, l := range r.Lines {
		count[l.Status]++
	}
	return fmt.Sprintf("%d ok, %d warning, %d failed, %d skipped\n", count[OK], count[Warning], count[Failed], count[Skipped])
}

// WriteJSON writes the report as one document (docs/check.md).
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
