package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
)

func TestScriptOutcomes(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute
	tests := []struct {
		name, script string
		status       int
		log          string
	}{
		{"nothing at all", "exit 0", 0, ""},
		{"status 3", "echo a; echo b >&2; exit 3", 3, "a\nb\n"},
		{"status 255", "exit 255", 255, ""},
		{"no newline at the end", "printf abc", 0, "abc"},
		{"killed by its own hand", "echo x; kill -9 $$", 137, "x\n"},
		{"terminated by its own hand", "kill $$; sleep 9", 143, ""},
		{"text like our records", "printf '#end a 0 0\\n#ok 3\\n'", 0, "#end a 0 0\n#ok 3\n"},
		{"opens its own stderr", "echo a; echo b >/dev/stderr; echo c >/dev/stdout; echo d | tee /dev/stderr", 0, "a\nb\nc\nd\nd\n"},
		{"no signal is ignored", "grep SigIgn /proc/self/status; trap 'echo trapped' INT; kill -INT $$", 0, "SigIgn:\t0000000000000000\ntrapped\n"},
		{"stdin is empty", "cat; echo read", 0, "read\n"},
		{"a background child that holds stdout", "sleep 300 & echo done", 0, "done\n"},
		{"a daemon", "(setsid sleep 300 >/dev/null 2>&1 &); echo up", 0, "up\n"},
		{"binary", `printf '\000\377\001\n\000'`, 0, "\x00\xff\x01\n\x00"},
		{"descriptors", "ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 "}, // 3 is ls's own
		{"git trusts every checkout", "git config --get safe.directory", 0, "*\n"},
		{"home", "echo $HOME", 0, "/root\n"},
		{"stops what carries its output", "echo a; for f in /.eci/control/ROLE.*.cat; do kill -STOP $(cat $f); done 2>/dev/null; echo b; exit 3", 3, "a\nb\n"},
	}
	for _, role := range []Role{Helper, Build} {
		for _, tt := range tests {
			t.Run(string(role)+"/"+tt.name, func(t *testing.T) {
				// A pid means something in its own container alone.
				result, log, err := g.run(t, role, strings.ReplaceAll(tt.script, "ROLE", string(role)))
				if err != nil {
					t.Fatal(err)
				}
				if result.Status != tt.status || log != tt.log || result.Execs != 1 {
					t.Errorf("status %d, log %q, %d execs, want %d, %q and 1", result.Status, log, result.Execs, tt.status, tt.log)
				}
			})
		}
	}
}

func TestHelperUmaskLetsBuildWrite(t *testing.T) {
	g := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) { c.User = "1000:1000" }))
	if _, log, err := g.run(t, Helper, "umask; mkdir -p /builds/a && echo x >/builds/a/f"); err != nil || log != "0000\n" {
		t.Fatalf("helper: log %q, error %v", log, err)
	}
	result, log, err := g.run(t, Build, "id -u; umask; echo y >>/builds/a/f; echo z >/builds/a/g; cat /builds/a/f")
	if want := "1000\n0022\nx\ny\n"; err != nil || log != want || result.Status != 0 {
		t.Fatalf("build: status %d, log %q, error %v, want log %q", result.Status, log, err, want)
	}
}

func TestLargeScript(t *testing.T) {
	g := newGroup(t, nil)
	script := "echo first\n: " + strings.Repeat("x", 5<<20) + "\necho last\n"
	result, log, err := g.run(t, Build, script)
	if err != nil || result.Status != 0 || log != "first\nlast\n" {
		t.Fatalf("status %d, log %q, error %v", result.Status, log, err)
	}
}

// cutter ends a stream after so many bytes from the exec, as a lost connection does.
type cutter struct {
	*execStream
	left int
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("connection reset by peer")
	}
	n, err := c.execStream.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestResumeAfterADropAtAnyByte(t *testing.T) {
	g := newGroup(t, nil)
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	script := "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 7"
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	cuts := []int{0, 1, 10, 36, 37, 41, 60, 61, 62, 63, 100}
	for range 8 {
		cuts = append(cuts, random.IntN(want.Len()))
	}
	for _, at := range cuts {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			first := g.execs
			g.faulty = func(n int, s *execStream) Stream {
				if n-first < 3 {
					return &cutter{s, at + 13*(n-first)}
				}
				return s
			}
			defer func() { g.faulty = nil }()
			result, log, err := g.run(t, Build, script)
			if err != nil || result.Status != 7 || log != want.String() {
				t.Fatalf("status %d, %d bytes of log, want %d, error %v", result.Status, len(log), want.Len(), err)
			}
		})
	}
}

// A script that ends while nobody can connect has its log and its status all the same.
func TestEndsWhileDisconnected(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute // the connection is lost once, when the script has begun
	log := marker{text: "first\n", seen: make(chan struct{})}
	session := g.session(t, &log)
	execs := 0
	session.Open = func(ctx context.Context, role Role, command []string) (Stream, error) {
		if execs++; execs == 2 {
			g.outputOf(t, Helper, "true >/builds/go; until grep -q '^exit 5 .* end' /.eci/control/*.exit; do sleep 0.01; done")
		}
		stream, err := g.open(ctx, role, command)
		if err == nil && execs == 1 {
			go func() {
				<-log.seen
				stream.Close()
			}()
		}
		return stream, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte("echo first; until [ -e /builds/go ]; do sleep 0.01; done; echo last; exit 5")})
	if err != nil || result.Status != 5 || log.String() != "first\nlast\n" || result.Execs != 2 {
		t.Errorf("status %d, log %q, %d execs, error %v", result.Status, log.String(), result.Execs, err)
	}
}

// afterScript is how many bytes follow a script: its nonce and a newline.
const afterScript = 17

// deaf swallows what is written after n bytes.
type deaf struct {
	*execStream
	hears int
}

func (d *deaf) Write(p []byte) (int, error) {
	n := min(len(p), d.hears)
	d.hears -= n
	if n > 0 {
		if m, err := d.execStream.Write(p[:n]); err != nil {
			return m, err
		}
	}
	return len(p), nil
}

func TestUploadCutShortIsRepeated(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.idle = 10 * time.Second // costs the first connection, and is to cost no other
	g.faulty = func(n int, s *execStream) Stream {
		if n == 0 {
			return &deaf{s, 5}
		}
		return s
	}
	result, log, err := g.run(t, Build, "echo once >>/builds/times; cat /builds/times")
	if err != nil || log != "once\n" || result.Execs != 2 {
		t.Fatalf("log %q, %d execs, error %v", log, result.Execs, err)
	}
}

func TestLostSupervisorIsNeverGreen(t *testing.T) {
	g := newGroup(t, nil)
	killCat := strings.ReplaceAll(findsCat, "ROLE", string(Build)) + "kill -9 $cat; "
	for name, script := range map[string]string{
		"the supervisor":           "echo a; kill -9 $PPID; sleep 0.1",
		"what carries the output":  "echo a; " + killCat + "sleep 0.1; exit 0",
		"all that it can":          "kill -9 -1",
		"the same, with no output": killCat + "exit 0",
	} {
		_, log, err := g.run(t, Build, script)
		if err == nil || !strings.Contains(err.Error(), "outcome is not known") || !strings.HasPrefix("a\n", log) {
			t.Errorf("%s: log %q, error %v", name, log, err)
		}
	}
}

func TestDeathOfBuildIsTold(t *testing.T) {
	g := newGroup(t, nil)
	var log marker
	log.text, log.seen = "alive", make(chan struct{})
	done := make(chan error, 1)
	session := g.session(t, &log)
	session.Settings.Death = time.Minute // the log's last bytes are read before build is seen to have ended
	go func() {
		_, err := session.Run(context.Background(), Job{Role: Build, Shell: "sh", Body: []byte("echo alive; sleep 300")})
		done <- err
	}()
	log.await(t, done)
	if err := g.containers[Build].Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "container build has ended") {
		t.Fatalf("error %v", err)
	}
}

func TestDeletedControlVolumeIsTold(t *testing.T) {
	g := newGroup(t, nil)
	_, _, err := g.run(t, Build, "rm -rf /.eci/control/*; sleep 300")
	if err == nil || !strings.Contains(err.Error(), "deleted the control volume") {
		t.Fatalf("error %v", err)
	}
}

// marker tells when a text has come.
type marker struct {
	bytes.Buffer
	text string
	seen chan struct{}
	told bool
}

func (m *marker) Write(p []byte) (int, error) {
	n, err := m.Buffer.Write(p)
	if !m.told && strings.Contains(m.String(), m.text) {
		m.told = true
		close(m.seen)
	}
	return n, err
}

// await waits for the text in the log of a run, whose end ended tells.
func (m *marker) await(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-m.seen:
	case err := <-ended:
		t.Fatalf("the run ended without %q in its log, error %v", m.text, err)
	case <-time.After(time.Minute):
		t.Fatalf("no %q in the log in a minute", m.text)
	}
}

func TestStopEmptiesTheContainer(t *testing.T) {
	tests := []struct {
		name, script string
		silent       bool // the stream does not carry the stop
	}{
		{"a plain script", "echo ready; sleep 300", false},
		{"children in the background", "sleep 300 & (setsid sleep 300 &) ; echo ready; wait", false},
		{"a script that ignores TERM", "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo ready; while :; do sleep 1; done", false},
		{"a daemon that forks anew all the time", "echo 'sleep 0.01; sh /tmp/hop.trap & exit' >/tmp/hop.trap; (sh /tmp/hop.trap &); echo ready; sleep 300", false},
		{"stream gone", "sleep 300 & echo ready; sleep 300", true},
		{"stream gone, and TERM ignored", "trap '' TERM; (setsid sleep 300 &); echo ready; while :; do sleep 1; done", true},
	}
	for _, role := range []Role{Build, Helper} {
		for _, tt := range tests {
			t.Run(string(role)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				g := newGroup(t, nil)
				g.idle = time.Minute // another connection would carry the stop
				if tt.silent {
					g.faulty = func(n int, s *execStream) Stream {
						if n == 0 {
							return &deaf{s, len(tt.script) + afterScript}
						}
						return s
					}
				}
				stopMidwayOf(t, g, role, tt.script)
				if tt.silent && g.stops == 0 {
					t.Error("it was not stopped by an exec of its own")
				}
				if left := g.outputOf(t, role, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c -e '[s]leep 300' -e '[t]rap'"); left != "0" {
					t.Errorf("%s processes left", left)
				}
				result, after, err := g.run(t, role, "echo after; exit 4")
				if err != nil || result.Status != 4 || after != "after\n" {
					t.Errorf("next script: status %d, log %q, error %v", result.Status, after, err)
				}
			})
		}
	}
}

func TestMinimalImage(t *testing.T) {
	g := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) { c.Layers = []string{dashImage(t)} }))
	result, log, err := g.run(t, Build, "echo $0; command -v sleep || echo no sleep; exit 9")
	if err != nil || result.Status != 9 || !strings.HasSuffix(log, "no sleep\n") {
		t.Fatalf("status %d, log %q, error %v", result.Status, log, err)
	}
}

// What the runner quotes by $'...' dash can't read; the log has to say so.
func TestQuotingThatAnImageLacks(t *testing.T) {
	const script = "#!/bin/sh\neval $'echo done'\n"
	bare := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) { c.Layers = []string{dashImage(t)} }))
	if result, log, err := bare.run(t, Build, script); err != nil || result.Status != 127 || !strings.Contains(log, "FF_POSIXLY_CORRECT_ESCAPES") {
		t.Errorf("without bash: status %d, log %q, error %v", result.Status, log, err)
	}
	if result, log, err := bare.run(t, Build, "echo done"); err != nil || result.Status != 0 || log != "done\n" {
		t.Errorf("a script for sh: status %d, log %q, error %v", result.Status, log, err)
	}
	var log bytes.Buffer
	result, err := newGroup(t, nil).session(t, &log).Run(t.Context(), Job{Role: Build, Shell: "sh", Body: []byte(script)})
	if err != nil || result.Status != 0 || log.String() != "done\n" {
		t.Errorf("shell = sh beside a bash: status %d, log %q, error %v", result.Status, log.String(), err)
	}
}

func inBuild(adjust func(*sandbox.ContainerConfig)) func(*sandbox.ContainerConfig) {
	return func(c *sandbox.ContainerConfig) {
		if c.Name == "build" {
			adjust(c)
		}
	}
}

// TestStartThatNobodySaid: the exec that asked for a script was killed before it woke the
// shell that waits for it. The next one does.
func TestStartThatNobodySaid(t *testing.T) {
	g := newGroup(t, nil)
	for _, role := range []Role{Helper, Build} {
		if _, _, err := g.run(t, role, "exit 0"); err != nil {
			t.Fatal(err)
		}
		g.warmWaits(t, role)
		run := "0123456789abcdef" + string(role)
		g.outputOf(t, Helper, fmt.Sprintf(`umask 0; cd /.eci/control; echo >%[1]s.seat; printf '%%-127s\n' pending >%[1]s.exit
printf 'echo heard\nexit 4\n' >%[1]s.first.script; echo first bash nonce >%[1]s.%[2]s.start`, run, role))
		stream, err := g.open(t.Context(), Helper, []string{"sh", scriptPath, "attach", run, "second", string(role), "bash", "0", "0", "nonce", "1000"})
		if err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(time.Minute, func() { stream.Close() })
		var log strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(log.String(), "#end"); {
			n, err := stream.Read(buffer)
			log.Write(buffer[:n])
			if err != nil {
				t.Fatalf("%s: %q, %v", role, log.String(), err)
			}
		}
		if text := log.String(); !hung.Stop() || !strings.Contains(text, "\nheard\n") || !strings.Contains(text, "#end "+run+" 4 6 ") {
			t.Errorf("%s: %q", role, text)
		}
		stream.Close()
	}
}

// warmWaits waits until the shell that is kept for a role's second script has looked for
// one, and waits. From then on nothing ticks: helper has met build, and what ticked till
// then in build has ended.
func (g *group) warmWaits(t *testing.T, role Role) {
	t.Helper()
	if role == Build {
		g.outputOf(t, Build, `cd /.eci/control; until [ -e build.heard ] && read -r _ ticker <build.seat && ! grep -q '^State:.[^ZX]' /proc/$ticker/status; do sleep 0.05; done 2>/dev/null`)
	}
	g.outputOf(t, role, fmt.Sprintf(`until read -r pid </.eci/control/%s.2.warm && [ -n "$pid" ] && grep -q pipe /proc/$pid/wchan; do :; done 2>/dev/null`, role))
}

// stopMidway stops a script that has started and wants nothing of it left.
func stopMidway(t *testing.T, g *group, role Role) {
	t.Helper()
	stopMidwayOf(t, g, role, "sleep 300 & echo ready; sleep 300")
	if left := g.outputOf(t, role, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 300'"); left != "0" {
		t.Errorf("%s: %s processes left", role, left)
	}
}

// stopMidwayOf stops the script once it has printed ready.
func stopMidwayOf(t *testing.T, g *group, role Role, script string) {
	t.Helper()
	log := marker{text: "ready", seen: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	session := g.session(t, &log)
	session.Settings.StopLimit, session.Settings.StopConfirm = 20*time.Second, time.Second
	go func() {
		_, err := session.Run(ctx, Job{Role: role, Shell: "bash", Body: []byte(script)})
		done <- err
	}()
	log.await(t, done)
	cancel()
	if err := <-done; err != ErrStopped { //nolint:errorlint // joined with a doubt it is another error
		t.Errorf("%s: error %v, want exactly ErrStopped", role, err)
	}
}

// dashImage is a root whose only executable is dash, as sh.
func dashImage(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"/usr/bin/dash", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"} {
		target := filepath.Join(root, name)
		if name == "/usr/bin/dash" {
			target = filepath.Join(root, "bin/sh")
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		testneed.Need(t, copyFile(name, target))
	}
	return root
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
