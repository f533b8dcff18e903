package remote

import (
	"strings"
	"testing"
)

// waiting is a run that has printed a line, and poll EXEC MILLISECONDS, which waits so
// long for more.
const waiting = `umask 0; cd /.eci/control; run=0123456789abcdef; log=/.eci/logs/build.99.log
true >$run.claim; echo build.99 >$run.seat; printf '%-127s\n' pending >$run.exit; echo first bash nonce >$run.build.start; echo line >$log
poll() { timeout 60 sh /.eci/remote/eci-remote sync poll $run $1 build nonce 5 4096 $2 tail; }
`

// TestPollsBesideEachOther: the call of a poll may be given up while that waits on, beside
// the next one. Each tells what comes.
func TestPollsBesideEachOther(t *testing.T) {
	for _, shell := range []string{"/usr/bin/dash", "/usr/bin/bash", "/usr/bin/busybox"} {
		t.Run(shell, func(t *testing.T) {
			g := newGroup(t, shellIsh(t, shell))
			got := g.outputOf(t, Helper, waiting+`
opened() { for file in $(grep -l $1 /proc/[0-9]*/cmdline); do [ $(readlink ${file%cmdline}fd/5) = $log ] && return; done; return 1; }
for exec in exec1 exec2 exec3; do
	poll $exec 600000 >/tmp/$exec &
	until opened $exec; do sleep 0.01; done
done 2>/dev/null
echo more >>$log
wait
for exec in exec1 exec2 exec3; do sed 1d /tmp/$exec | sed '$d' | base64 -d; done | grep -c '^more'`)
			if got != "3" {
				t.Errorf("%s polls told what came, want 3", got)
			}
		})
	}
}

// TestSeatHalfWritten: half of a line does not name a log.
func TestSeatHalfWritten(t *testing.T) {
	got := newGroup(t, nil).outputOf(t, Helper, waiting+"printf bui >$run.seat; poll exec1 100 | sed 1d | sed '$d' | base64 -d")
	if !strings.HasSuffix(got, "#beat") || strings.Contains(got, "#fail") {
		t.Errorf("the poll tells %q", got)
	}
}
