package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/sandbox"
)

// noise is text that no compression makes much smaller.
func noise(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n*3/4)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// What goes through a connection goes through Sync execs, in commands within the
// limits.
func TestSyncCarriesAnyLog(t *testing.T) {
	g := newGroup(t, nil)
	var mu sync.Mutex
	largest := 0
	g.answered = func(_ int, command []string, output string) (string, error) {
		text, err := json.Marshal(command)
		if err != nil {
			return "", err
		}
		if len(command) > 20 || len(text) > 2048 || slices.ContainsFunc(command, func(w string) bool { return len(w) > 256 }) {
			t.Errorf("a command of %d words and %d bytes: %q", len(command), len(text), command)
		}
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, len(output))
		return output, nil
	}
	var lines strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	tests := []struct {
		name, script string
		status       int
		log          string
	}{
		{"100,000 lines", "seq -f 'line %.0f' 0 99999; exit 7", 7, lines.String()},
		{"one line of 3 MB", "head -c 3000000 /dev/zero | tr '\\0' x", 0, strings.Repeat("x", 3_000_000)},
		{"binary", `printf '\000\377\001\n\000'; exit 255`, 255, "\x00\xff\x01\n\x00"},
		{"a script of many pieces", ": " + noise(60_000) + "\necho done; exit 2", 2, "done\n"},
		{"text like our records", "printf '#end a 0 0\\n#ok 3\\n#done\\n'", 0, "#end a 0 0\n#ok 3\n#done\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, log, err := g.run(t, Build, tt.script)
			if err != nil || result.Status != tt.status || log != tt.log {
				t.Errorf("status %d, %d bytes of log, want %d and %d, error %v", result.Status, len(log), tt.status, len(tt.log), err)
			}
		})
	}
	if largest > 258<<10 {
		t.Errorf("the largest answer has %d bytes", largest)
	}
}

// A script that is quiet for long ends when it ends, and its execs grow rare.
func TestSyncPollsRarelyInSilence(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.answered, g.idle = whole, time.Minute
	begun := time.Now()
	result, log, err := g.run(t, Build, "echo a; sleep 4; echo b; exit 3") // 80 s, scaled
	if err != nil || result.Status != 3 || log != "a\nb\n" || result.Execs != 1 {
		t.Errorf("status %d, log %q, %d streams, error %v", result.Status, log, result.Execs, err)
	}
	settings := DefaultSettings().Scaled(20)
	if most := 12 + int(time.Since(begun)/(settings.PollMax+settings.PollHold)); g.execs > most {
		t.Errorf("%d execs, want %d at most", g.execs, most)
	}
}

// spoiled is what may become of an answer.
func spoiled() map[string]func(output string) (string, error) {
	lost := errors.New("connection reset by peer")
	return map[string]func(string) (string, error){
		"lost":               func(string) (string, error) { return "", lost },
		"empty":              func(string) (string, error) { return "", nil },
		"cut in the header":  func(s string) (string, error) { return s[:min(len(s), 20)], nil },
		"cut in the middle":  func(s string) (string, error) { return s[:len(s)/2], nil },
		"cut before its end": func(s string) (string, error) { return s[:len(s)-1], nil },
		"a byte changed": func(s string) (string, error) {
			b := []byte(s)
			b[len(b)/2] ^= 3
			return string(b), nil
		},
		"a byte lost":   func(s string) (string, error) { return s[:len(s)/2] + s[len(s)/2+1:], nil },
		"stderr before": func(s string) (string, error) { return "sh: warning\n" + s, nil },
	}
}

// An answer that is not whole is asked for again. Its exec has taken effect all the
// same: nothing of it may be done twice.
func TestSyncAnswerSpoiled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var want strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	script := "echo x >>/builds/times; : " + noise(4000) + "\ni=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 7"
	for name, spoil := range spoiled() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, nil)
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			left := 6
			g.answered = func(n int, _ []string, output string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if left > 0 && (n == 0 || random.IntN(2) == 0) {
					left--
					return spoil(output)
				}
				return output, nil
			}
			result, log, err := g.run(t, Build, script)
			if err != nil || result.Status != 7 || log != want.String() {
				t.Errorf("status %d, %d bytes of log, want %d, error %v", result.Status, len(log), want.Len(), err)
			}
			if left > 5 {
				t.Error("no answer was spoiled: the test shows nothing")
			}
			if times := g.outputOf(t, Build, "cat /builds/times"); times != "x" {
				t.Errorf("the script ran as often as there are lines in %q", times)
			}
		})
	}
}

// Where answers are cut at some length, they are asked to be shorter.
func TestSyncAnswersAreShortenedWhereTheyAreCut(t *testing.T) {
	g := newGroup(t, nil)
	cuts := 0
	g.answered = func(_ int, _ []string, output string) (string, error) {
		if len(output) > 100_000 {
			cuts++
		}
		return output[:min(len(output), 100_000)], nil
	}
	result, log, err := g.run(t, Build, "head -c 2000000 /dev/zero; exit 4")
	if err != nil || result.Status != 4 || len(log) != 2_000_000 {
		t.Errorf("status %d, %d bytes of log, error %v", result.Status, len(log), err)
	}
	if cuts == 0 || cuts > 2 {
		t.Errorf("%d answers were cut, want 1 or 2", cuts)
	}
}

// A server may as well refuse an answer that is too long for it.
func TestSyncAnswersAreShortenedWhereTheyAreRefused(t *testing.T) {
	for _, limit := range []int{64 << 10, 100_000, 200_000} {
		g := newGroup(t, nil)
		g.idle = time.Minute
		refused := 0
		g.answered = func(_ int, _ []string, output string) (string, error) {
			if len(output) > limit {
				refused++
				return "", errors.New("500 InternalError")
			}
			return output, nil
		}
		var log bytes.Buffer
		session := g.session(t, &log)
		settings := session.Settings
		settings.PollHold = time.Minute // what fails after half of it was not refused for its length
		session.Open = g.sync(settings).Open
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte("head -c 2000000 /dev/zero; exit 4")})
		if err != nil || result.Status != 4 || log.Len() != 2_000_000 {
			t.Errorf("%d: status %d, %d bytes of log, error %v", limit, result.Status, log.Len(), err)
		}
		if refused == 0 || refused > 2 {
			t.Errorf("%d: %d answers were refused, want 1 or 2", limit, refused)
		}
	}
}

// When no answer comes in any more, the run is never said to have ended well.
func TestSyncDeadIsNeverGreen(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.answered = func(n int, _ []string, output string) (string, error) {
		if n > 0 {
			return output[:len(output)/2], nil
		}
		return output, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var log bytes.Buffer
	session := g.session(t, &log)
	session.Settings.StopLimit = time.Second
	result, err := session.Run(ctx, Job{Role: Build, Shell: "sh", Body: []byte("echo a; sleep 0.5; exit 0")})
	if err == nil {
		t.Errorf("result %+v without an error", result)
	}
}

func TestSyncScriptTooLarge(t *testing.T) {
	g := newGroup(t, nil)
	g.answered = whole
	_, _, err := g.run(t, Build, ": "+noise(200_000)+"\necho done")
	if err == nil || !strings.Contains(err.Error(), "too large to be sent without a WebSocket") || !strings.Contains(err.Error(), "reach the WebSocket host") {
		t.Errorf("error %v", err)
	}
	if g.execs != 0 {
		t.Errorf("%d execs for a script that can't be sent", g.execs)
	}
	if _, log, err := g.run(t, Build, ": "+noise(100_000)+"\necho done"); err != nil || log != "done\n" {
		t.Errorf("half of it: log %q, error %v", log, err)
	}
}

// The pieces of an upload that is cut again and again are not sent again.
func TestSyncUploadGoesOn(t *testing.T) {
	g := newGroup(t, nil)
	g.idle = time.Minute
	puts := map[string]int{}
	g.answered = func(n int, command []string, output string) (string, error) {
		if command[3] == "put" {
			puts[command[6]]++
			if puts[command[6]] == 1 && n%3 == 2 {
				return "", errors.New("connection reset by peer")
			}
		}
		return output, nil
	}
	if _, log, err := g.run(t, Build, ": "+noise(20_000)+"\necho done"); err != nil || log != "done\n" {
		t.Fatalf("log %q, error %v", log, err)
	}
	lost := 0
	for piece, times := range puts {
		if times > 2 {
			t.Errorf("piece %s was sent %d times", piece, times)
		}
		lost += times - 1
	}
	if lost == 0 {
		t.Error("no piece was lost: the test shows nothing")
	}
	if left, _ := filepath.Glob(filepath.Join(g.control, "*.piece.*")); len(left) > 0 {
		t.Errorf("pieces are left: %v", left)
	}
}

func TestSyncStopEmptiesTheContainer(t *testing.T) {
	tests := []struct {
		name, script string
		silent       bool // no poll that asks for the stop gets there
	}{
		{"a plain script", "echo ready; sleep 300", false},
		{"children in the background", "sleep 300 & (setsid sleep 300 &) ; echo ready; wait", false},
		{"a script that ignores TERM", "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo ready; while :; do sleep 1; done", false},
		{"one that prints on", "while :; do echo ready; done", false},
		{"polls are lost", "sleep 300 & echo ready; sleep 300", true},
		{"polls are lost, and TERM ignored", "trap '' TERM; (setsid sleep 300 &); echo ready; while :; do sleep 1; done", true},
	}
	for _, role := range []Role{Build, Helper} {
		for _, tt := range tests {
			t.Run(string(role)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				g := newGroup(t, nil)
				if g.answered = whole; tt.silent {
					g.refuses = askStop
				}
				stopMidwayOf(t, g, role, tt.script)
				if tt.silent && g.stops == 0 {
					t.Error("it was not stopped by execs of its own")
				}
				if left := g.outputOf(t, role, "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c -e '[s]leep 300' -e '[t]rap'"); left != "0" {
					t.Errorf("%s processes left", left)
				}
				if result, after, err := g.run(t, role, "echo after; exit 4"); err != nil || result.Status != 4 || after != "after\n" {
					t.Errorf("next script: status %d, log %q, error %v", result.Status, after, err)
				}
			})
		}
	}
}

// The shells that images bring as sh all have to do.
func TestSyncShells(t *testing.T) {
	inShells(t, nil, func(t *testing.T, g *group) {
		g.answered = whole
		for _, role := range []Role{Helper, Build} {
			result, log, err := g.run(t, role, "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; sleep 0.2; echo x >/dev/stderr; exit 3")
			if err != nil || result.Status != 3 || strings.Count(log, "\n") != 301 || !strings.HasSuffix(log, "299\nx\n") {
				t.Errorf("%s: status %d, %d lines, error %v", role, result.Status, strings.Count(log, "\n"), err)
			}
			stopMidwayOf(t, g, role, "sleep 300 & echo ready; sleep 300")
			g.run(t, role, "true")
		}
	})
}

// A stop in an image whose only executable is dash takes builtins alone.
func TestSyncMinimalImage(t *testing.T) {
	g := newGroup(t, inBuild(func(c *sandbox.ContainerConfig) { c.Layers = []string{dashImage(t)} }))
	g.answered, g.refuses = whole, askStop
	stopMidwayOf(t, g, Build, spins)
	if result, log, err := g.run(t, Build, afterSpins); err != nil || result.Status != 3 || log != "ended\n" {
		t.Errorf("status %d, log %q, error %v", result.Status, log, err)
	}
}

// envelope is the answer of an exec that printed records.
func envelope(records []byte) string {
	text := base64.StdEncoding.EncodeToString(records)
	return fmt.Sprintf("#sync %d %x\n%s\n#done\n", len(text), sha256.Sum256([]byte(text)), text)
}

func TestOpenEnvelopeRefuses(t *testing.T) {
	envelope := envelope([]byte("#beat\n"))
	if got, err := openEnvelope(envelope); err != nil || string(got) != "#beat\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	for i := range len(envelope) {
		if got, err := openEnvelope(envelope[:i]); err == nil && i < len(envelope)-1 {
			t.Errorf("cut at %d gave %q", i, got)
		}
		if got, err := openEnvelope(envelope[:i] + envelope[i+1:]); err == nil && i < len(envelope)-1 {
			t.Errorf("without byte %d gave %q", i, got)
		}
	}
}

// TestSyncAnswersTrimmed: an answer without the newline at its end is whole.
func TestSyncAnswersTrimmed(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.answered = func(_ int, _ []string, output string) (string, error) { return strings.TrimSpace(output), nil }
	if result, log, err := g.run(t, Build, "echo a; exit 3"); err != nil || result.Status != 3 || log != "a\n" {
		t.Errorf("status %d, log %q, error %v", result.Status, log, err)
	}
	g.refuses = askStop // so that the container is swept
	stopMidway(t, g, Build)
	if g.stops == 0 {
		t.Error("nothing was swept")
	}
}

// FuzzOpenEnvelope: whatever an exec printed comes out of its answer, and nothing else
// where a byte of that was lost, or became another one. Its corpus is in
// testdata/fuzz/FuzzOpenEnvelope.
func FuzzOpenEnvelope(f *testing.F) {
	f.Add([]byte("#hello r e\n#data 0 3\nabc\n#ok 3\n#beat\n"), uint16(7), byte('1'), false)
	f.Add([]byte(nil), uint16(0), byte('\n'), true)
	f.Fuzz(func(t *testing.T, records []byte, at uint16, other byte, lost bool) {
		text := envelope(records)
		if got, err := openEnvelope(text); err != nil || !bytes.Equal(got, records) {
			t.Fatalf("%q gave %q, %v", records, got, err)
		}
		i := int(at) % len(text)
		spoiled := text[:i] + string(rune(other%128)) + text[i+1:]
		if lost {
			spoiled = text[:i] + text[i+1:]
		}
		if got, err := openEnvelope(spoiled); err == nil && !bytes.Equal(got, records) {
			t.Errorf("%q gave %q", spoiled, got)
		}
		if rest, err := openEnvelope(string(records)); err == nil && len(rest) > len(records) {
			t.Errorf("%q gave %q", records, rest)
		}
	})
}

// After calls that were lost, an exec waits as long as before again, once others were
// answered for a while; a call that is given up all the same shortens it at once.
func TestSyncHoldGrowsAgain(t *testing.T) {
	s := &Sync{Settings: DefaultSettings(), Turn: func(context.Context, bool) error { return nil },
		Exec: func(context.Context, Role, []string) (string, error) { return envelope([]byte("#hello r e\n")), nil }}
	r, w := io.Pipe()
	defer r.Close()
	go io.Copy(io.Discard, r)
	x := &syncStream{Sync: s, out: w, run: "r", beat: time.Minute, stop: make(chan struct{})}
	answers := func(n int) {
		t.Helper()
		for range n {
			if _, err := x.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost := func() { s.failed(s.learned().hold, s.learned().hold) }

	full := s.Settings.PollHold
	for range 40 {
		lost()
	}
	if hold := s.learned().hold; hold > full/32 || hold <= 0 {
		t.Fatalf("an exec waits for %s after 40 lost calls", hold)
	}
	answers(6 * holdAgain)
	if hold := s.learned().hold; hold != full {
		t.Errorf("an exec waits for %s in the end, want %s", hold, full)
	}
	answers(holdAgain - 1)
	lost()
	answers(1)
	if hold := s.learned().hold; hold != full/2 {
		t.Errorf("an exec waits for %s after another lost call, want %s", hold, full/2)
	}
}

// While it waits for its turn, the session hears that all is well.
func TestSyncTurnIsWaitedFor(t *testing.T) {
	t.Parallel()
	g := newGroup(t, nil)
	g.answered = whole
	var log bytes.Buffer
	session := g.session(t, &log)
	session.Settings.Idle, session.Settings.Heartbeat = 3*time.Second, 100*time.Millisecond
	s := g.sync(session.Settings)
	s.Turn = func(ctx context.Context, urgent bool) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(session.Settings.Idle * 3 / 2):
			return g.turn(ctx, urgent)
		}
	}
	session.Open = s.Open
	result, err := session.Run(context.Background(), Job{Role: Build, Shell: "sh", Body: []byte("echo a; exit 5")})
	if err != nil || result.Status != 5 || result.Execs != 1 || log.String() != "a\n" {
		t.Errorf("status %d, %d streams, log %q, error %v", result.Status, result.Execs, log.String(), err)
	}
}
