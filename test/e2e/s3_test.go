package e2e

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// cacheStore is an S3-compatible store with one bucket, which takes nothing but URLs
// signed by its key: the runner signs them, the helper uses them.
type cacheStore struct {
	backend *s3mem.Backend
	server  *httptest.Server
}

const (
	cacheBucket = "runner-cache"
	cacheKeyID  = "e2e-key-id"
	cacheSecret = "e2e/secret+key" //nolint:gosec // of a server of this process alone
)

func startCacheStore(t *testing.T) *cacheStore {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), cacheBucket); err != nil {
		t.Fatal(err)
	}
	faker := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{cacheKeyID: cacheSecret}))
	s := &cacheStore{backend: backend, server: httptest.NewServer(faker.Server())}
	t.Cleanup(s.server.Close)
	return s
}

func (s *cacheStore) address() string { return strings.TrimPrefix(s.server.URL, "http://") }

// config is the runner's [runners.cache].
func (s *cacheStore) config() string {
	return fmt.Sprintf(`[runners.cache]
Type = "s3"
Path = "of runners"
Shared = true
[runners.cache.s3]
ServerAddress = %q
AccessKey = %q
SecretKey = %q
BucketName = %q
BucketLocation = "ap-northeast-1"
Insecure = true
PathStyle = true
`, s.address(), cacheKeyID, cacheSecret, cacheBucket)
}

// keys are the names of what lies in the store, and what the runner has noted with each
// as the cache's key.
func (s *cacheStore) keys(t *testing.T) map[string]string {
	t.Helper()
	list, err := s.backend.ListBucket(t.Context(), cacheBucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, object := range list.Contents {
		head, err := s.backend.HeadObject(t.Context(), cacheBucket, object.Key)
		if err != nil {
			t.Fatal(err)
		}
		keys[object.Key] = head.Metadata["X-Amz-Meta-Cachekey"]
	}
	return keys
}
