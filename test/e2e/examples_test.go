package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
	"github.com/eci-executor/eci-executor/internal/testimage"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/test/e2e/coordinator"
)

// language is an example for one: its folder, the image that its file names and
// Debian's packages for it, and a stand-in for where its dependencies come from.
type language struct {
	folder, image string
	packages      []string
	path          string                 // of the image
	variables     map[string]string      // what tells the tool of the stand-in, whose address is put for URL
	isDependency  func(path string) bool // whether a request is for a dependency's content
	serve         func(t *testing.T, root string, files map[string]string) http.Handler
	printed       string // by the tests that passed
}

func languages() []language {
	return []language{{
		folder: "node", image: "node:22", packages: []string{"nodejs", "npm"}, path: "/usr/bin:/bin",
		variables: map[string]string{"npm_config_registry": "URL"}, serve: serveNPM,
		isDependency: func(path string) bool { return strings.HasSuffix(path, ".tgz") }, printed: "# pass 2",
	}, {
		folder: "go", image: "golang:1.26", packages: []string{"golang-go"}, path: "/usr/bin:/bin",
		variables: map[string]string{"GOPROXY": "URL"}, serve: serveModules,
		isDependency: func(path string) bool { return strings.HasSuffix(path, ".zip") }, printed: "ok  \texample.com/go-demo",
	}, {
		folder: "python", image: "python:3.13", packages: []string{"python3-venv", "python3-six"}, path: "/usr/bin:/bin",
		// pip keeps what came by HTTPS, or from a host that it is told to trust.
		variables: map[string]string{"PIP_INDEX_URL": "URL/simple", "PIP_TRUSTED_HOST": "127.0.0.1"}, serve: serveWheels,
		isDependency: func(path string) bool { return strings.HasSuffix(path, ".whl") }, printed: "Ran 1 test",
	}}
}

// Each example's pipeline passes, and its second one finds in GitLab's cache what the
// first has downloaded.
func TestExamples(t *testing.T) {
	needContainers(t)
	for _, l := range languages() {
		t.Run(l.folder, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("..", "..", "examples", l.folder)
			files, err := gitserver.FilesOf(dir)
			if err != nil {
				t.Fatal(err)
			}
			root := testimage.Debian(t, l.packages...)
			handler := l.serve(t, root, files)
			var downloads atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if l.isDependency(r.URL.Path) {
					downloads.Add(1)
				}
				handler.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			e := newDriverEnv(t, driverSetup{
				concurrent: 1, forward: []string{server.Listener.Addr().String()},
				images: map[string]ecitest.Image{l.image: {Layers: []string{root}, Env: []string{"PATH=" + l.path}}},
			})
			of := coordinator.Job{ProjectPath: "demo/" + l.folder, Ref: gitserver.Branch}
			of.SHA = e.addRepository(of.ProjectPath, map[string]map[string]string{of.Ref: files})[of.Ref]
			for key, value := range l.variables {
				of.Variables = append(of.Variables, coordinator.Variable{Key: key, Value: strings.Replace(value, "URL", server.URL, 1), Public: true})
			}
			stages := example(t, dir)
			var before int64
			for n, want := range []string{"Cache file does not exist", "Successfully extracted cache"} {
				of.PipelineID = int64(n + 1)
				for name, result := range e.mustPass(e.startPipeline(stages, of)) {
					for _, text := range []string{want, l.printed} {
						if !bytes.Contains(result.Trace, []byte(text)) {
							t.Errorf("the trace of %s in pipeline %d lacks %q", name, n+1, text)
						}
					}
				}
				if now := downloads.Load(); (now > before) != (n == 0) {
					t.Errorf("pipeline %d downloaded %d dependencies", n+1, now-before)
				}
				before = downloads.Load()
			}
		})
	}
}
