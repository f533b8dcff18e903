package eci

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
)

// profileAlone leaves the SDK's chain one provider that has a key, behind some that have none.
func profileAlone(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "",
		"ALIBABA_CLOUD_ROLE_ARN": "", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "", "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "", "ALIBABA_CLOUD_CREDENTIALS_URI": "",
		"ALIBABA_CLOUD_CREDENTIALS_FILE": "", "ALIBABA_CLOUD_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	file := filepath.Join(home, ".alibabacloud", "credentials")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("[default]\ntype = access_key\naccess_key_id = "+testKey+"\naccess_key_secret = "+testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestChainInParallel: a process whose first calls are made at the same time, as cleanup's
// are, finds the same key for each of them.
func TestChainInParallel(t *testing.T) {
	profileAlone(t)
	for range 200 {
		c := newClient(t, "http://127.0.0.1:1", func(o *Options) { o.Credentials = Credentials{} })
		var callers sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			callers.Go(func() {
				<-start
				if key, err := c.Key(t.Context()); err != nil || key.ID != testKey {
					t.Errorf("key %q, error %v", key.ID, err)
				}
			})
		}
		close(start)
		if callers.Wait(); t.Failed() {
			return
		}
	}
}

// flaky is a source of keys that has none for a while, and must not be asked twice at once.
type flaky struct {
	fails int
	busy  atomic.Bool
}

func (f *flaky) GetCredentials() (*credentials.Credentials, error) {
	if !f.busy.CompareAndSwap(false, true) {
		return nil, errors.New("asked twice at once")
	}
	defer f.busy.Store(false)
	if f.fails > 0 {
		f.fails--
		return nil, errors.New("the metadata service is busy")
	}
	return &credentials.Credentials{AccessKeyId: testKey}, nil
}
func (*flaky) GetProviderName() string { return "flaky" }

// TestChainIsAskedAnew: after a failure the SDK's chain holds on to the provider that it
// asked last, so another chain is begun.
func TestChainIsAskedAnew(t *testing.T) {
	made := 0
	keys := newKeySource(func() credentials.CredentialsProvider {
		made++
		return &flaky{fails: max(0, 2-made)}
	})
	if _, err := keys.GetCredentials(); err == nil {
		t.Error("the first one has no key, and no error")
	}
	for range 2 {
		if got, err := keys.GetCredentials(); err != nil || got.AccessKeyId != testKey {
			t.Errorf("%v, error %v", got, err)
		}
	}
	if made != 2 {
		t.Errorf("%d chains were made, want 2", made)
	}
}
