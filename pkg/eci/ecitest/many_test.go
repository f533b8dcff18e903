package ecitest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

const (
	// manyEnv makes the test binary a server of its own, in the directory that it names.
	manyEnv = "ECITEST_SERVE_MANY_IN"

	manyTime   = 60 * time.Second // for 200 groups of three containers on two cores
	manyMemory = 100              // MiB of the server's process, at its most
)

// manyMarker is the argument by which the groups' processes are known: another run of the
// tests may have its own on this machine.
func manyMarker() string { return fmt.Sprintf("98761.%d", os.Getpid()) }

// BenchmarkManyGroups starts and deletes 200 groups of three containers.
func BenchmarkManyGroups(b *testing.B) {
	for b.Loop() {
		took, memory := manyGroups(b, 200)
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(memory, "MiB")
		if took > manyTime || memory > manyMemory {
			b.Errorf("%s and %.0f MiB, want at most %s and %d MiB", took, memory, manyTime, manyMemory)
		}
	}
}

// TestManyGroups is the same with fewer, and without a limit of time; that of memory
// is for the server alone, without the race detector's.
func TestManyGroups(t *testing.T) {
	if dir := os.Getenv(manyEnv); dir != "" {
		serveMany(t, dir)
		return
	}
	if _, memory := manyGroups(t, 20); memory > manyMemory && !raced {
		t.Errorf("%.0f MiB, want at most %d", memory, manyMemory)
	}
}

// serveMany is the server: it tells its address, and at the end of its input how
// many groups are live.
func serveMany(t *testing.T, dir string) {
	s := start(t, ecitest.Options{Dir: dir})
	fmt.Printf("serving %s\n", s.URL())
	_, _ = io.ReadAll(os.Stdin)
	fmt.Printf("live %d\n", len(s.Live()))
}

// manyGroups takes n groups of three containers through a server in a process of
// its own. It gives the time from the first create call until all were gone, and
// the most memory that the server had, in MiB.
func manyGroups(t testing.TB, n int) (took time.Duration, memory float64) {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	dir := t.TempDir()
	server := exec.Command(os.Args[0], "-test.run=^TestManyGroups$")
	server.Env = append(os.Environ(), manyEnv+"="+dir)
	server.Stderr = os.Stderr
	end, err := server.StdinPipe()
	check(t, err)
	out, err := server.StdoutPipe()
	check(t, err)
	check(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill() }) // an error says that it has ended
	lines := bufio.NewScanner(out)
	url := awaitLine(t, lines, "serving ")

	begun := time.Now()
	ids := createMany(t, url, n)
	awaitMany(t, url, "Running", n)
	// Running says that the shells run, which are yet to become these processes.
	for deadline := time.Now().Add(patience); len(marked(t)) != 3*n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d processes run, want %d", len(marked(t)), 3*n)
			break
		}
	}
	deleteMany(t, url, ids)
	awaitMany(t, url, "", 0)
	took = time.Since(begun)
	memory = peakMemory(t, server.Process.Pid)

	check(t, end.Close())
	if live := awaitLine(t, lines, "live "); live != "0" {
		t.Errorf("%s container groups left", live)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := server.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
	if left := marked(t); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	return took, memory
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitLine reads on to a line with the prefix and gives what follows it.
func awaitLine(t testing.TB, lines *bufio.Scanner, prefix string) string {
	t.Helper()
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			return rest
		}
	}
	t.Fatalf("the server ended without %q", prefix)
	return ""
}

func many(t testing.TB, url, action string, params map[string]string) map[string]any {
	t.Helper()
	response, err := sendTo(t, url, "local", "local-secret", action, params)
	if err != nil {
		t.Error(err)
		return nil
	}
	var answer map[string]any
	if err := json.Unmarshal(response.GetHttpContentBytes(), &answer); err != nil {
		t.Error(err)
	}
	return answer
}

// inParallel makes n calls, as many at a time as a runner with its own limit.
func inParallel(n int, f func(i int)) {
	work := make(chan int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range work {
				f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()
}

func createMany(t testing.TB, url string, n int) []string {
	t.Helper()
	p := script("exec sleep "+manyMarker(), "TerminationGracePeriodSeconds", "0")
	for i, name := range []string{"helper", "service"} {
		for _, key := range []string{"Image", "Command.1", "Command.2", "Command.3"} {
			p[fmt.Sprintf("Container.%d.%s", i+2, key)] = p["Container.1."+key]
		}
		p[fmt.Sprintf("Container.%d.Name", i+2)] = name
	}
	ids := make([]string, n)
	inParallel(n, func(i int) {
		ids[i], _ = many(t, url, "CreateContainerGroup", with(p, pairs("ContainerGroupName", fmt.Sprintf("many-%d", i))))["ContainerGroupId"].(string)
	})
	return ids
}

func deleteMany(t testing.TB, url string, ids []string) {
	t.Helper()
	inParallel(len(ids), func(i int) { many(t, url, "DeleteContainerGroup", pairs("ContainerGroupId", ids[i])) })
}

// awaitMany waits until as many groups are listed, each with the status.
func awaitMany(t testing.TB, url, status string, n int) {
	t.Helper()
	for deadline := time.Now().Add(3 * patience); ; time.Sleep(20 * time.Millisecond) {
		data, _ := many(t, url, "DescribeContainerGroupStatus", pairs("Limit", "200"))["Data"].([]any)
		reached := 0
		for _, g := range data {
			if g.(map[string]any)["Status"] == status {
				reached++
			}
		}
		if len(data) == n && reached == n {
			return
		}
		if t.Failed() || time.Now().After(deadline) {
			t.Fatalf("%d of %d groups are %q, %d are listed", reached, n, status, len(data))
		}
	}
}

// marked are the processes of the groups.
func marked(t testing.TB) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && string(b) == "sleep\x00"+manyMarker()+"\x00" {
			found = append(found, f)
		}
	}
	return found
}

// peakMemory is a process's VmHWM in MiB.
func peakMemory(t testing.TB, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			check(t, err)
			return kib / 1024
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
