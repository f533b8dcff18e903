package gitserver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// The reading half of git-lfs's API with its basic transfer, as git-lfs documents it
// in docs/api/batch.md and basic-transfers.md. A repository's objects lie in its
// directory lfs/objects, where git-lfs itself would keep them.

const lfsType = "application/vnd.git-lfs+json"

var (
	lfsBatchPath  = pattern.Lazy(`^(/.+\.git)/info/lfs/objects/batch$`)
	lfsObjectPath = pattern.Lazy(`^(/.+\.git)/gitlab-lfs/objects/([0-9a-f]{64})$`) // as GitLab names it
)

// AddLFSObject gives the bare repository dir an object and returns what a file of
// the repository holds in its place. Which files those are stands in .gitattributes:
// "*.bin filter=lfs diff=lfs merge=lfs -text".
func AddLFSObject(dir string, content []byte) (pointer string, err error) {
	sum := sha256.Sum256(content)
	oid := hex.EncodeToString(sum[:])
	path := lfsObject(dir, oid)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("add LFS object: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return "", fmt.Errorf("add LFS object: %w", err)
	}
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content)), nil
}

func lfsObject(dir, oid string) string {
	return filepath.Join(dir, "lfs", "objects", oid[:2], oid[2:4], oid)
}

// lfs serves the LFS objects of the repositories below root, and leaves all other
// paths to next.
func lfs(root string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := lfsBatchPath().FindStringSubmatch(r.URL.Path); m != nil {
			answerBatch(w, r, root, m[1])
		} else if m := lfsObjectPath().FindStringSubmatch(r.URL.Path); m != nil {
			http.ServeFile(w, r, lfsObject(filepath.Join(root, filepath.FromSlash(m[1])), m[2]))
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

type lfsAction struct {
	Href string `json:"href"`
}

type lfsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type lfsEntry struct {
	OID     string               `json:"oid"`
	Size    int64                `json:"size"`
	Actions map[string]lfsAction `json:"actions,omitempty"`
	Error   *lfsError            `json:"error,omitempty"`
}

// answerBatch tells where each object of repo is to be had; no header goes with it, so
// that the client sends the credentials that it came with.
func answerBatch(w http.ResponseWriter, r *http.Request, root, repo string) {
	var batch struct {
		Operation string     `json:"operation"`
		Objects   []lfsEntry `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil || batch.Operation != "download" {
		writeLFS(w, http.StatusForbidden, map[string]string{"message": "this server is read-only"})
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	for i, object := range batch.Objects {
		href := fmt.Sprintf("%s/gitlab-lfs/objects/%s", repo, object.OID)
		if !lfsObjectPath().MatchString(href) {
			batch.Objects[i].Error = &lfsError{http.StatusUnprocessableEntity, "no SHA-256"}
		} else if info, err := os.Stat(lfsObject(filepath.Join(root, filepath.FromSlash(repo)), object.OID)); err != nil || info.Size() != object.Size {
			batch.Objects[i].Error = &lfsError{http.StatusNotFound, "there is no such object of this size"}
		} else {
			batch.Objects[i].Actions = map[string]lfsAction{"download": {Href: scheme + "://" + r.Host + href}}
		}
	}
	writeLFS(w, http.StatusOK, map[string]any{"transfer": "basic", "objects": batch.Objects})
}

func writeLFS(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", lfsType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that went away says so itself
}
