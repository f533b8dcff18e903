package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// serveNPM is an npm registry with the package ms as Debian has it, whose digest it puts
// into the project's lock file.
func serveNPM(t *testing.T, root string, files map[string]string) http.Handler {
	t.Helper()
	pack := exec.CommandContext(t.Context(), "tar", "-C", filepath.Join(root, "usr/share/nodejs"), "-cz", "--transform", "s,^ms,package,", "ms")
	content, err := pack.Output()
	if err != nil {
		t.Fatalf("pack Debian's node-ms: %v", err)
	}
	sum := sha512.Sum512(content)
	integrity := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	files["package-lock.json"] = regexp.MustCompile(`sha512-[^"]+`).ReplaceAllString(files["package-lock.json"], integrity)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /ms/-/ms-2.1.3.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	mux.HandleFunc("GET /ms", func(w http.ResponseWriter, r *http.Request) {
		dist := map[string]string{"integrity": integrity, "tarball": "http://" + r.Host + "/ms/-/ms-2.1.3.tgz"}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"name": "ms", "dist-tags": map[string]string{"latest": "2.1.3"},
			"versions": map[string]any{"2.1.3": map[string]any{"name": "ms", "version": "2.1.3", "dist": dist}},
		})
	})
	return mux
}

// serveModules is a module proxy with what this machine's module cache has: the
// example's dependency is one of the driver too.
func serveModules(t *testing.T, _ string, _ map[string]string) http.Handler {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return http.FileServer(http.Dir(filepath.Join(strings.TrimSpace(string(out)), "cache", "download")))
}

// serveWheels is a package index with a wheel of six as Debian has it, to be cached for
// good as such files are.
func serveWheels(t *testing.T, root string, _ map[string]string) http.Handler {
	t.Helper()
	module, err := os.ReadFile(filepath.Join(root, "usr/lib/python3/dist-packages/six.py"))
	if err != nil {
		t.Fatal(err)
	}
	const info = "six-1.16.0.dist-info/"
	var wheel bytes.Buffer
	archive := zip.NewWriter(&wheel)
	for _, f := range []struct{ name, content string }{
		{"six.py", string(module)},
		{info + "METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "six.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := archive.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	const name = "six-1.16.0-py3-none-any.whl"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simple/six/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><a href=\"/files/%s\">%[1]s</a>", name)
	})
	mux.HandleFunc("GET /files/"+name, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(wheel.Bytes()))
	})
	return mux
}
