//go:build qemu

package nasmount

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// optionsScript mounts one directory five times, as if by five hosts (nosharecache):
// with the options as they stand, with one of them changed each, and short of breath
// (timeo=10, a second) for the outage. Words of the host come on stdin.
const optionsScript = `
mount_nfs() { # DIR OPTIONS [EXPORT]
	mkdir -p "$1"
	mount -t nfs -o "$2,nosharecache,$ADDRESS" "10.0.2.2:${3:-/ci}" "$1" || echo "NOT MOUNTED $1"
	grep " $1 " /proc/mounts | sed "s|^|MOUNT $1 |"
}
ports() { # NAME: local ports of the connections that stand
	grep ":$PORT_HEX 01" /proc/net/tcp | sed "s/^[^:]*: [^:]*:\\([0-9A-F]*\\) .*/PORT $1 \\1/"
}
mount_nfs /resvport "$(echo "$OPTIONS" | sed s/noresvport/resvport/)"
ports resvport
umount /resvport # the next ones would share its connection
mount_nfs /documented "$OPTIONS"
ports documented
mount_nfs /small "$(echo "$OPTIONS" | sed s/wsize=1048576/wsize=32768/)"
mount_nfs /hard "$(echo "$OPTIONS" | sed s/timeo=600/timeo=10/)"
mount_nfs /soft "$(echo "$OPTIONS" | sed 's/timeo=600/timeo=10/;s/hard/soft/')"

mount_nfs /readonly "$OPTIONS" /readonly
touch -c /documented; echo "TOUCH documented $?"
touch -c /readonly; echo "TOUCH readonly $?"

echo "WRITE documented"
dd if=/dev/zero of=/documented/big bs=1M count=4 2>/dev/null
echo "WRITE small"
dd if=/dev/zero of=/small/big bs=1M count=4 2>/dev/null
echo "WRITTEN"

# Two builds install into one Maven repository, each under a lock as Maven takes it.
echo base >/documented/metadata
mkfifo /tmp/hold /tmp/held
lock /documented/lock </tmp/hold >/tmp/held &
exec 3>/tmp/hold
read -r _ </tmp/held
first=$(cat /documented/metadata)
lock /documented/lock </dev/null; echo "LOCK same host $?"
lock /hard/lock </dev/null && echo "$(cat /hard/metadata) second" >/hard/metadata; echo "LOCK other host $?"
echo "$first first" >/documented/metadata
exec 3>&-
echo INSTALLED

echo "OUTAGE"
read -r _
{ echo kept >/hard/late; echo "HARD $?"; } &
echo lost 2>/dev/null >/soft/late; echo "SOFT $?"
read -r _
wait
echo "END"
`

// The documented options, given to a Linux client, do what the documentation of
// this package and docs/nas.md say that they do.
func TestDocumentedOptions(t *testing.T) {
	dir := t.TempDir()
	var writes atomic.Int64
	server := startNFS(t, exports{"/readonly": {dir: dir, readOnly: true}, "/ci": {dir: dir, before: func(op string) error {
		if op == "write" {
			writes.Add(1)
		}
		return nil
	}}})
	_, port, _ := net.SplitHostPort(server.address)
	number, _ := strconv.Atoi(port)
	g := newGuest(t, fmt.Sprintf("OPTIONS=%s ADDRESS=addr=10.0.2.2,port=%s,mountport=%[2]s,mountproto=tcp PORT_HEX=%04X\n%s",
		DefaultOptions, port, number, optionsScript), "testdata/lock")

	mounted, _ := g.await(t, "WRITE documented")
	wantMounted(t, mounted, strings.Split(strings.Replace(DefaultOptions, "nolock", "local_lock=all", 1), ","),
		"documented", "resvport", "small", "hard", "soft")
	wantPorts(t, mounted, "documented", false)
	wantPorts(t, mounted, "resvport", true)
	// So eci-remote.sh finds out, as root, whether a NAS directory may be written to.
	for _, want := range []string{"TOUCH documented 0", "TOUCH readonly 1"} {
		if !slices.Contains(mounted, want) {
			t.Errorf("the guest did not say %q", want)
		}
	}
	writes.Store(0)
	g.await(t, "WRITE small")
	large := writes.Swap(0)
	g.await(t, "WRITTEN")
	if small := writes.Load(); large > 8 || small < 128 {
		t.Errorf("4 MiB took %d writes, and %d with wsize=32768; want about 4, and 128", large, small)
	}

	if _, status := g.await(t, "LOCK same host"); status == "0" {
		t.Error("a lock held on this host was given again")
	}
	if _, status := g.await(t, "LOCK other host"); status != "0" {
		t.Error("nolock: a lock of another host was seen; docs/nas.md says that none is")
	}

	g.await(t, "INSTALLED")
	if got, err := os.ReadFile(filepath.Join(dir, "metadata")); string(got) != "base first\n" {
		t.Errorf("a repository of two hosts holds %q, %v; docs/nas.md says that one of them is lost", got, err)
	}

	g.await(t, "OUTAGE")
	server.stop()
	g.say(t, "gone")
	before, status := g.await(t, "SOFT")
	if status == "0" || strings.Contains(strings.Join(before, "\n"), "HARD") {
		t.Errorf("in an outage the soft mount ended with %s, after %q", status, before)
	}
	if err := server.start(); err != nil {
		t.Fatal(err)
	}
	g.say(t, "back")
	if _, status := g.await(t, "HARD"); status != "0" {
		t.Errorf("after the outage the hard mount ended with %s", status)
	}
	g.await(t, "END")
	if got, err := os.ReadFile(filepath.Join(dir, "late")); string(got) != "kept\n" {
		t.Errorf("what was written in the outage is %q, %v", got, err)
	}
}

// wantMounted tells whether the lines that the guest said before it wrote show the
// directories as mounted, the first of them with these options of the kernel.
func wantMounted(t *testing.T, lines, options []string, dirs ...string) {
	t.Helper()
	for i, dir := range dirs {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "MOUNT /"+dir+" ") })
		if at < 0 {
			t.Fatalf("/%s is not mounted", dir)
		}
		shown := strings.Split(strings.Fields(lines[at])[5], ",")
		for _, want := range options {
			if i == 0 && !slices.Contains(shown, want) {
				t.Errorf("the kernel did not take %s: %s", want, lines[at])
			}
		}
	}
}

// wantPorts looks at the local ports of connections, from /proc/net/tcp of the guest.
func wantPorts(t *testing.T, lines []string, name string, privileged bool) {
	t.Helper()
	n := 0
	for _, line := range lines {
		if hex, ok := strings.CutPrefix(line, "PORT "+name+" "); ok {
			n++
			if port, err := strconv.ParseUint(hex, 16, 16); err != nil || (port < 1024) != privileged {
				t.Errorf("%s: local port %d, %v", name, port, err)
			}
		}
	}
	if n == 0 {
		t.Errorf("%s: no connection seen", name)
	}
}
