package packaging

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

// life is what an operator of a Debian machine does with the package; $1 is its file.
const life = `set -ex
before=$(find /etc /usr /var/lib -xdev -path '*eci*executor*' | sort)
dpkg -i "$1"
eci-executor version
eci-executor config </dev/null 2>&1 | grep /etc/eci-executor/eci-executor.toml # it is not there yet
test "$(stat -c %a /etc/eci-executor /var/lib/eci-executor | xargs)" = "750 700"

examples=/usr/share/doc/eci-executor/examples
cp $examples/eci-executor.toml.example /etc/eci-executor/eci-executor.toml
grep '_exec = ' $examples/config.toml.example | sed 's/.*"\(.*\)"/\1/' | xargs ls -l >/dev/null
CUSTOM_ENV_CI_RUNNER_VERSION=19.4.0 eci-executor config | grep '"driver"'

zcat /usr/share/man/man8/eci-executor.8.gz | grep '^.TH eci-executor'
bash -ec '. /usr/share/bash-completion/completions/eci-executor
	COMP_WORDS=(eci-executor im) COMP_CWORD=1; _eci_executor; test "${COMPREPLY[*]}" = image-cache'
test -s /usr/share/fish/vendor_completions.d/eci-executor.fish
test -s /usr/share/zsh/vendor-completions/_eci-executor
service=/usr/lib/systemd/system/eci-executor-reap.service
test -x "$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' $service)"
test -s ${service%.service}.timer

touch /var/lib/eci-executor/record
dpkg -i "$1" # once more, as an upgrade does
test -e /var/lib/eci-executor/record
dpkg -r eci-executor
test -s /etc/eci-executor/eci-executor.toml
test -e /var/lib/eci-executor/record
dpkg -P eci-executor
test ! -e /var/lib/eci-executor
test -s /etc/eci-executor/eci-executor.toml # the operator's own
rm -r /etc/eci-executor
after=$(find /etc /usr /var/lib -xdev -path '*eci*executor*' | sort)
test "$before" = "$after"
echo removed whole
`

// TestDeb builds the deb, and in a container over this machine's own root installs it,
// uses what it brings, upgrades and removes it.
func TestDeb(t *testing.T) {
	_, err := exec.LookPath("dpkg")
	testneed.Need(t, errors.Join(err, sandbox.Supported()))
	dir := t.TempDir()
	command(t, "go", "build", "-o", filepath.Join(dir, "eci-executor"), "../cmd/eci-executor")
	command(t, "./package", "amd64", filepath.Join(dir, "eci-executor"), dir)
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	rpms, _ := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if len(debs) != 1 || len(rpms) != 1 {
		t.Fatalf("made %v and %v, want a deb and an rpm", debs, rpms)
	}
	log, status := inContainer(t, []string{"sh", "-c", life, "life", filepath.Join("/packages", filepath.Base(debs[0]))},
		sandbox.Mount{Source: dir, Target: "/packages", ReadOnly: true})
	if status != 0 || !strings.HasSuffix(log, "removed whole\n") {
		t.Errorf("status %d:\n%s", status, log)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// inContainer runs a command over the host's root, whose files it can't change.
func inContainer(t *testing.T, args []string, mounts ...sandbox.Mount) (log string, status int) {
	t.Helper()
	host, err := sandbox.NewHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	group, err := host.CreateGroup(sandbox.GroupConfig{Name: "packaging"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	container, err := group.StartContainer(sandbox.ContainerConfig{Name: "debian", Layers: []string{t.TempDir(), "/"}, Args: args,
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}, Mounts: mounts, Log: &out})
	if err != nil {
		t.Fatal(err)
	}
	<-container.Done()
	status = container.Status().ExitCode
	if err := group.Destroy(); err != nil { // ends what writes to the log
		t.Error(err)
	}
	return out.String(), status
}
