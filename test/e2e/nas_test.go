package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// checkoutsOnNAS is the part of a driver's file that keeps checkouts.
const checkoutsOnNAS = `[[nas]]
name = "builds"
server = "` + nasServer + `"
path = "/builds/{ref_protected}/{concurrent_id}"
mount_path = "/builds"
`

// With builds_dir on a NAS the second job of a project fetches into the checkout of
// the first, and finds what that has left there if it asks for it.
func TestCheckoutsOnNAS(t *testing.T) {
	needContainers(t)
	e := newDriverEnv(t, driverSetup{concurrent: 1, file: checkoutsOnNAS})
	keep := []coordinator.Variable{{Key: "GIT_CLEAN_FLAGS", Value: "-ffdx -e target/", Public: true}}
	mark := func(n int) []string {
		return []string{
			`printf 'in %s, shared: %s\n' "$CI_PROJECT_DIR" "$CI_SHARED_ENVIRONMENT"`,
			`printf 'version %s, built %s, left %s\n' "$(cat VERSION)" "$(cat target/built 2>/dev/null)" "$(cat left 2>/dev/null)"`,
			fmt.Sprintf(`mkdir -p target && echo by-%d >target/built && echo by-%d >left`, n, n),
		}
	}
	first := e.mustSucceed(e.enqueue(coordinator.Job{SHA: e.sha, Variables: keep, Script: mark(1)}))
	// As long as its group may write, the next job gets another slot.
	if live := e.server.AwaitNone(t.Context()); len(live) > 0 {
		t.Fatalf("the group of the first job stays: %v", live)
	}
	second := e.mustSucceed(e.enqueue(coordinator.Job{SHA: e.sha, Variables: keep, Script: mark(2)}))
	protected := e.mustSucceed(e.enqueue(coordinator.Job{SHA: e.sha, Variables: keep, Protected: true, Script: mark(3)}))
	for _, want := range []struct {
		name  string
		trace []byte
		texts []string
	}{
		{"the first job", first.Trace, []string{"Initialized empty Git repository", "version 1.4.2, built , left \n", "shared: true"}},
		{"the second job", second.Trace, []string{"Reinitialized existing Git repository", "version 1.4.2, built by-1, left \n"}},
		{"a job of a protected branch", protected.Trace, []string{"Initialized empty Git repository", "version 1.4.2, built , left \n"}},
	} {
		for _, text := range want.texts {
			if !bytes.Contains(want.trace, []byte(text)) {
				t.Errorf("the trace of %s lacks %q", want.name, text)
			}
		}
	}
}

// What jobs may share at once: GitLab's cache. Its archives are written aside and
// renamed, so that a reader finds a whole one, whoever is writing.
func TestCacheIsSafeToShare(t *testing.T) {
	binary := buildRunner(t)
	archive := filepath.Join(t.TempDir(), "cache", "demo", "app", "deps", "cache.zip")
	run := func(dir string, args ...string) {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	write := func(dir, text string) {
		for _, name := range []string{"a", "b"} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
			// Newer than any archive: else there would be nothing to archive.
			if later := time.Now().Add(time.Hour); os.Chtimes(file, later, later) != nil {
				t.Error("the time of a file can't be set")
			}
		}
		run(dir, "cache-archiver", "--file", archive, "--path", "a", "--path", "b")
	}
	read := func() string {
		dir := t.TempDir()
		run(dir, "cache-extractor", "--file", archive)
		a, err := os.ReadFile(filepath.Join(dir, "a"))
		if err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || !bytes.Equal(a, b) {
			t.Errorf("the archive is one of two writers: %v", err)
		}
		return string(a[:1])
	}
	text := func(letter string, n int) string { return strings.Repeat(fmt.Sprint(letter, n, " "), 100_000) }
	write(t.TempDir(), text("x", 0))
	var wg sync.WaitGroup
	for _, letter := range []string{"x", "y"} {
		dir := t.TempDir()
		wg.Go(func() {
			for n := range 5 {
				write(dir, text(letter, n))
			}
		})
	}
	written := make(chan struct{})
	go func() {
		wg.Wait()
		close(written)
	}()
	seen := map[string]bool{}
	for over := false; !over; {
		select {
		case <-written:
			over = true
		default:
		}
		seen[read()] = true
	}
	t.Logf("readers found archives of %v", seen)
}
