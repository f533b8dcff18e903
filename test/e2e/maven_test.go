package e2e

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"
)

// mavenRepository stands in for Maven Central, with the artifacts that Debian's packages
// have in root. It answers at once: nothing is made slow.
type mavenRepository struct {
	url      string
	requests atomic.Int64
}

// newMavenRepository serves /usr/share/maven-repo of root.
func newMavenRepository(t *testing.T, root string) *mavenRepository {
	t.Helper()
	dir, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	// What Maven asks for by itself, of which Debian has a later version alone.
	versions := strings.NewReplacer("/plexus-utils/1.1/plexus-utils-1.1.", "/plexus-utils/3.4.2/plexus-utils-3.4.2.")
	m := &mavenRepository{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		name, wantSum := strings.CutSuffix(versions.Replace(r.URL.Path), ".sha1")
		content, err := dir.ReadFile(path.Join("usr/share/maven-repo", name))
		switch {
		case err != nil:
			http.NotFound(w, r)
		case wantSum:
			fmt.Fprintf(w, "%x", sha1.Sum(content))
		default:
			_, _ = w.Write(content) // a client that went away says so itself
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { _ = dir.Close() })
	m.url = server.URL
	return m
}

// settings are those of a Maven that asks nobody else.
func (m *mavenRepository) settings() string {
	return fmt.Sprintf("<settings><mirrors><mirror><id>stand-in</id><mirrorOf>*</mirrorOf><url>%s</url></mirror></mirrors></settings>\n", m.url)
}
