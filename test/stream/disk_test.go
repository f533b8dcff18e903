package stream

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
)

// TestDiskFull: a log that has no room is a system failure with a sentence, whatever
// the script's status and whether it writes the log or other files full; and so is
// that of the job's next script.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	const sentence = "the disk of the container group is full"
	tests := []struct {
		name, script, want string
		least              int // bytes of the log for which there was room
	}{
		{"the log fills it", "seq 1000000; exit 0", numbered(1_000_000), 900_000},
		{"one that does not look", "echo a; head -c 3000000 /dev/zero; exit 3", "a\n" + strings.Repeat("\x00", 3_000_000), 900_000},
		{"other files fill it", "echo a; cat /dev/zero >/.eci/logs/full 2>/dev/null; seq 10000; exit 0", "a\n" + numbered(10_000), 0},
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, k, eci.Options{}, remote.DefaultSettings().Scaled(20))
			// The logs' volume, on a disk of 1 MiB.
			w.config.Group.Request = map[string]string{
				"Volume.3.EmptyDirVolume.Medium": "Memory", "Volume.3.EmptyDirVolume.SizeLimit": "1Mi"}
			for _, tt := range tests {
				w.prepare()
				o := w.run("build_script", tt.script, time.Minute)
				if o.status != 2 || o.err == nil || !strings.Contains(o.err.Error(), sentence) {
					t.Errorf("%s: exit status %d, error %v", tt.name, o.status, o.err)
				}
				if !bytes.HasPrefix([]byte(tt.want), o.log) || len(o.log) < tt.least {
					t.Errorf("%s: %d bytes of log, which differ from byte %d on", tt.name, len(o.log), differ(o.log, []byte(tt.want)))
				}
				if o = w.run("after_script", "echo after; exit 0", time.Minute); o.status != 2 || o.err == nil || !strings.Contains(o.err.Error(), sentence) {
					t.Errorf("%s, after it: exit status %d, error %v", tt.name, o.status, o.err)
				}
			}
			w.cleanup()
		})
	}
}

// TestControlVolumeFull: a script that fills the small volume by which scripts come has
// its own outcome all the same; the next one fails with a sentence.
func TestControlVolumeFull(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, k, eci.Options{}, remote.DefaultSettings().Scaled(20))
			w.config.Group.Request = map[string]string{"Volume.2.EmptyDirVolume.SizeLimit": "2Mi"}
			w.prepare()
			o := w.run("build_script", "echo a; cat /dev/zero >/.eci/control/full 2>/dev/null; exit 3", time.Minute)
			if o.status != 1 || o.script != 3 || string(o.log) != "a\n" {
				t.Errorf("exit status %d, of the script %d, log %q, error %v", o.status, o.script, o.log, o.err)
			}
			o = w.run("after_script", "echo after; exit 0", time.Minute)
			if o.status != 2 || o.err == nil || !strings.Contains(o.err.Error(), full) || len(o.log) != 0 {
				t.Errorf("after it: exit status %d, log %q, error %v", o.status, o.log, o.err)
			}
			w.cleanup()
		})
	}
}
