package gitserver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/internal/gitserver"
)

func TestLFSObjects(t *testing.T) {
	root := t.TempDir()
	content := strings.Repeat("large ", 1000)
	pointer, err := gitserver.AddLFSObject(filepath.Join(root, "demo", "app.git"), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	var oid string
	var size int
	if _, err := fmt.Sscanf(pointer, "version https://git-lfs.github.com/spec/v1\noid sha256:%64s\nsize %d\n", &oid, &size); err != nil || size != len(content) {
		t.Fatalf("pointer %q: %v", pointer, err)
	}
	handler, err := gitserver.Handler(root)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	tests := []struct {
		name, operation, oid string
		size, status, code   int
	}{
		{"an object", "download", oid, size, http.StatusOK, 0},
		{"one of another size", "download", oid, size + 1, http.StatusOK, http.StatusNotFound},
		{"one that is not there", "download", strings.Repeat("0", 64), 1, http.StatusOK, http.StatusNotFound},
		{"a path", "download", "../../config", 1, http.StatusOK, http.StatusUnprocessableEntity},
		{"an upload", "upload", oid, size, http.StatusForbidden, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := fmt.Sprintf(`{"operation":%q,"transfers":["basic"],"objects":[{"oid":%q,"size":%d}]}`, tt.operation, tt.oid, tt.size)
			resp, err := http.Post(server.URL+"/demo/app.git/info/lfs/objects/batch", "application/vnd.git-lfs+json", strings.NewReader(request))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var answer struct {
				Objects []struct {
					Actions struct{ Download struct{ Href string } }
					Error   struct{ Code int }
				}
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != tt.status {
				t.Fatalf("status %d, want %d; %v", resp.StatusCode, tt.status, err)
			}
			if tt.status != http.StatusOK {
				return
			}
			object := answer.Objects[0]
			if object.Error.Code != tt.code {
				t.Errorf("code %d, want %d", object.Error.Code, tt.code)
			}
			if tt.code != 0 {
				return
			}
			got, err := http.Get(object.Actions.Download.Href)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			if body, err := io.ReadAll(got.Body); err != nil || string(body) != content {
				t.Errorf("the object has %d bytes, %v", len(body), err)
			}
		})
	}
}
