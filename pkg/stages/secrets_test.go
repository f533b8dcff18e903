package stages_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// wiretap stands before the local ECI and keeps every answer.
type wiretap struct {
	url     string
	mu      sync.Mutex
	answers bytes.Buffer
}

func (w *world) tap(t *testing.T) *wiretap {
	t.Helper()
	target, err := url.Parse(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	tap := &wiretap{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			tap.mu.Lock()
			defer tap.mu.Unlock()
			tap.answers.Write(body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			return err
		},
	})
	t.Cleanup(server.Close)
	tap.url = server.URL
	return tap
}

// TestSecrets looks for each secret of a job in all that its stages leave behind:
// requests, answers, state files, log lines, command lines.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	tap := w.tap(t)
	// Other processes of this machine may speak of secrets too.
	secret := func(name string) string { return name + "-" + rand.Text() }
	masked, plain, file, token := secret("masked"), secret("plain"), secret("file"), secret("token")
	registry, author, login := secret("registry"), secret("author"), secret("login")
	volume, binary := secret("volume"), secret("binary")
	paths := map[string]string{"text": filepath.Join(t.TempDir(), "text"), "binary": filepath.Join(t.TempDir(), "binary")}
	write(t, paths["text"], volume+"\n")
	write(t, paths["binary"], "\x00"+binary)
	w.config.Volumes = []config.Volume{{Name: "v", Type: config.VolumeSecret, MountPath: "/etc/v", Files: paths, Containers: []string{"helper", "build"}}}
	w.config.Endpoint = tap.url
	w.config.Registries = []config.Registry{{Server: "registry.example.com", Username: "ci", Password: config.Secret(registry)}}
	w.env.Custom["PUBLIC_URL"] = "https://" + masked + "@example.com"
	auths := `{"auths":{"quay.io":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:"+author)) + `"}}}`
	w.job(t, map[string]any{
		"token": token,
		"variables": []map[string]any{
			{"key": "CI_SERVER_HOST", "value": "gitlab.example.com", "public": true}, {"key": "CI_RUNNER_ID", "value": "12", "public": true},
			{"key": "SECRET", "value": masked, "masked": true}, {"key": "PLAIN", "value": plain},
			{"key": "PUBLIC_URL", "value": "https://$SECRET@example.com", "public": true},
			{"key": "PUBLIC_FILE", "value": file, "file": true, "public": true}, {"key": "DOCKER_AUTH_CONFIG", "value": auths}},
		"credentials": []map[string]string{{"type": "registry", "url": "gitlab.example.com:5050", "username": "gitlab-ci-token", "password": login}},
		"services":    []map[string]any{{"name": "host", "alias": "quay.io", "command": []string{"sleep", "600"}}, {"name": "host", "command": []string{"sleep", "600"}}},
	})
	secrets := []string{masked, plain, file, token, registry, author, login, volume, binary, base64.StdEncoding.EncodeToString([]byte("\x00" + binary)),
		base64.StdEncoding.EncodeToString([]byte("ci:" + registry)), base64.StdEncoding.EncodeToString([]byte("u:" + author))}
	script := fmt.Sprintf("export SECRET=%s PLAIN=%s TOKEN=%s\necho ready\nuntil [ -e /builds/go ]; do sleep 0.05; done\ngrep -q %s /etc/v/text && grep -qa %s /etc/v/binary || exit 1\ntrue # %s\n", masked, plain, token, volume, binary, secrets)
	said := w.stagesAloud(t, script, func() {
		for name, text := range commandLines(t) {
			holdsNone(t, name, text, secrets)
		}
	})
	holdsNone(t, "the log", said, secrets)
	tap.mu.Lock()
	holdsNone(t, "an answer", tap.answers.String(), secrets)
	tap.mu.Unlock()
	for _, c := range w.server.Calls() {
		for _, name := range c.InQuery {
			holdsNone(t, "the URL of "+c.Action, c.All().Get(name), secrets)
		}
		for key, values := range c.All() {
			if !strings.HasSuffix(key, ".Password") {
				holdsNone(t, c.Action+" "+key, strings.Join(values, " "), secrets)
			}
		}
	}
}

// holdsNone is the search.
func holdsNone(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s holds %q", where, s)
		}
	}
}

// lockedBuffer takes what several write at the same time.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// stagesAloud takes the job through its stages and returns all that they log; while
// the script waits for /builds/go, look looks.
func (w *world) stagesAloud(t *testing.T, script string, look func()) string {
	t.Helper()
	said := new(lockedBuffer) // the stage that waits may log meanwhile
	logger := logrus.New()
	logger.SetLevel(logrus.TraceLevel)
	logger.SetOutput(said)
	stage := func(out io.Writer) *stages.Stage {
		s := w.stage(t, new(bytes.Buffer))
		s.Stdout, s.Stderr, s.Logger = out, said, logger
		return s
	}
	if err := stage(said).Prepare(w.context(t)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "script")
	write(t, file, "echo sources")
	if err := stage(said).Run(w.context(t), file, "get_sources"); err != nil {
		t.Fatal(err)
	}
	write(t, file, script)
	out := &waiter{text: "ready", seen: make(chan struct{})}
	done := make(chan error, 1)
	waiting := stage(out)
	go func() { done <- waiting.Run(w.context(t), file, "step_script") }()
	out.await(t, done)
	look()
	for _, path := range w.stateFiles(t, "*") {
		path = filepath.Join(w.config.StateDir, path)
		info, err := os.Stat(path)
		text, _ := os.ReadFile(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		fmt.Fprintf(said, "%s\n", text)
	}
	write(t, file, "touch /builds/go")
	if err := stage(said).Run(w.context(t), file, "archive_cache"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-done, stage(said).Cleanup(w.context(t))); err != nil {
		t.Fatal(err)
	}
	return said.String()
}

// commandLines are those of all processes of this machine, by the name of their file.
func commandLines(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	lines := map[string]string{}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil { // or it has ended
			lines[path] = string(text)
		}
	}
	return lines
}
