//go:build qemu

package nasmount

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// optionsOf4 are those that docs/nas.md has for version 4.0.
const optionsOf4 = "vers=4.0,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"

// server4Script serves /export by the guest's own kernel, by version 4.0 alone. What
// mountd would answer the kernel is told beforehand, at each start: whose address that is,
// what it may mount (9234: insecure, async, no_subtree_check and fsid of
// linux/nfsd/export.h, without root_squash) and where the file handle of / leads to.
const server4Script = `
NFSD=/proc/fs/nfsd RPC=/proc/net/rpc EVER=2147483647
mkdir -p /export /var/lib/nfs/v4recovery
mount -t tmpfs export /export
mount -t nfsd nfsd $NFSD
echo "-3 +4 +4.0 -4.1 -4.2" >$NFSD/versions
echo 10 >$NFSD/nfsv4leasetime
echo 10 >$NFSD/nfsv4gracetime
echo 1048576 >$NFSD/max_block_size
serve() {
	echo "nfsd 127.0.0.1 $EVER guest" >$RPC/auth.unix.ip/channel
	echo "guest /export $EVER 9234 65534 65534 0" >$RPC/nfsd.export/channel
	printf 'guest 1 \\x00000000 %s /export\n' $EVER >$RPC/nfsd.fh/channel
	echo 4 >$NFSD/threads
	echo Y >$NFSD/v4_end_grace
}
serve
`

// options4Script mounts it as optionsScript does.
const options4Script = `
mount_nfs() { # DIR OPTIONS
	mkdir -p "$1"
	mount -t nfs -o "$2,nosharecache,addr=127.0.0.1,clientaddr=127.0.0.1" 127.0.0.1:/ "$1" || echo "NOT MOUNTED $1"
	grep " $1 " /proc/mounts | sed "s|^|MOUNT $1 |"
}
mount_nfs /documented "$OPTIONS"
grep ":0801 01 " /proc/net/tcp | sed "s/^[^:]*: [^:]*:\\([0-9A-F]*\\) .*/PORT documented \\1/"
mount_nfs /nolock "$OPTIONS,nolock"
mount_nfs /hard "$(echo "$OPTIONS" | sed s/timeo=600/timeo=10/)"
mount_nfs /soft "$(echo "$OPTIONS" | sed 's/timeo=600/timeo=10/;s/hard/soft/')"
echo there >/export/seen
touch -c /documented; echo "TOUCH $?"
echo "READ $(cat /documented/seen)"
echo written >/documented/new
echo "SERVER $(cat /export/new)"

mkfifo /tmp/hold /tmp/held
lock /documented/lock </tmp/hold >/tmp/held &
exec 3>/tmp/hold
read -r _ </tmp/held
lock /nolock/lock </dev/null; echo "LOCK held $?"
exec 3>&-
wait
lock /nolock/lock </dev/null; echo "LOCK free $?"

echo 0 >$NFSD/threads
{ echo kept >/hard/late; echo "HARD $?"; } &
echo lost 2>/dev/null >/soft/late; echo "SOFT $?"
serve
wait
echo "END $(cat /export/late)"
`

// Version 4.0, with the options that the documentation gives for it, is what a Linux
// client mounts, and the options do what docs/nas.md says that they do there.
func TestDocumentedOptionsOf4(t *testing.T) {
	docs, err := os.ReadFile("../../docs/nas.md")
	if err != nil || !strings.Contains(string(docs), optionsOf4) {
		t.Errorf("docs/nas.md does not have these options: %v", err)
	}
	g := newGuest(t, fmt.Sprintf("OPTIONS=%s\n%s%s", optionsOf4, server4Script, options4Script), "testdata/lock")
	mounted, _ := g.await(t, "TOUCH 0")
	wantMounted(t, mounted, append(strings.Split(optionsOf4, ","), "local_lock=none"), "documented", "nolock", "hard", "soft")
	wantPorts(t, mounted, "documented", false)
	if !slices.ContainsFunc(mounted, func(line string) bool {
		return strings.HasPrefix(line, "MOUNT /nolock ") && strings.Contains(line, "local_lock=none")
	}) {
		t.Error("nolock changed where locks are kept; docs/nas.md says that it does nothing")
	}
	if _, text := g.await(t, "READ"); text != "there" {
		t.Errorf("the client reads %q", text)
	}
	if _, text := g.await(t, "SERVER"); text != "written" {
		t.Errorf("the server has %q", text)
	}
	if _, status := g.await(t, "LOCK held"); status == "0" {
		t.Error("a lock of another mount was not seen; docs/nas.md says that the mount target keeps locks")
	}
	if _, status := g.await(t, "LOCK free"); status != "0" {
		t.Errorf("a free lock was not given: %s", status)
	}
	before, status := g.await(t, "SOFT")
	if status == "0" || strings.Contains(strings.Join(before, "\n"), "HARD") {
		t.Errorf("in an outage the soft mount ended with %s, after %q", status, before)
	}
	if _, status := g.await(t, "HARD"); status != "0" {
		t.Errorf("after the outage the hard mount ended with %s", status)
	}
	if _, text := g.await(t, "END"); text != "kept" {
		t.Errorf("what was written in the outage is %q", text)
	}
}
