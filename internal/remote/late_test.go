package remote

import (
	"bytes"
	"context"
	"testing"
	"time"
)

// What a background child writes after the script's end is no part of its log, though
// it stands in the file when the digests are taken.
func TestWrittenAfterTheEnd(t *testing.T) {
	for name, text := range map[string]string{"an empty log": "", "one line": "line\n"} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, nil)
			// What an exec says while helper is not ready counts among the bytes of the first.
			g.outputOf(t, Helper, "until [ -e /.eci/control/helper.ready ]; do sleep 0.05; done")
			var log bytes.Buffer
			session := g.session(t, &log)
			execs := 0
			session.Open = func(ctx context.Context, role Role, command []string) (Stream, error) {
				if execs++; execs == 2 { // the first one has only started the script
					g.outputOf(t, Helper, "until grep -q late /.eci/logs/build.*.log; do sleep 0.01; done")
				}
				stream, err := g.exec(role, command)
				if err != nil || execs > 1 {
					return stream, err
				}
				return &cutter{stream, 40}, nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			// Straight into the log, as cat, by which the child would write, ends with the script.
			script := "printf '" + text + "'; (until grep -q '^exit 5 .* end' /.eci/control/*.exit; do sleep 0.01; done; " +
				"for log in /.eci/logs/build.*.log; do echo late >>$log; done) >/dev/null 2>&1 & exit 5"
			result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte(script)})
			if err != nil || result.Status != 5 || log.String() != text {
				t.Errorf("status %d, log %q, error %v", result.Status, log.String(), err)
			}
		})
	}
}
