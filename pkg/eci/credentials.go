package eci

import (
	"sync"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
)

// Credentials are those of a RAM user or role. All empty means the SDK's default
// chain: environment, OIDC, profile, ECS RAM role.
type Credentials struct{ AccessKeyID, AccessKeySecret, SecurityToken, ECSRAMRole string }

// provider is the SDK's provider for them.
func (c Credentials) provider() credentials.CredentialsProvider {
	switch {
	case c.ECSRAMRole != "":
		return credentials.NewECSRAMRoleCredentialsProvider(c.ECSRAMRole)
	case c.SecurityToken != "":
		return credentials.NewStaticSTSCredentialsProvider(c.AccessKeyID, c.AccessKeySecret, c.SecurityToken)
	case c.AccessKeyID != "":
		return credentials.NewStaticAKCredentialsProvider(c.AccessKeyID, c.AccessKeySecret)
	}
	return credentials.NewDefaultCredentialsProvider()
}

// keySource makes a provider of the SDK safe for parallel calls. The SDK's default chain is
// not: asked while it is still looking for the provider that has a key, it answers by the one
// that it is at, and after a failure it stays with the last one for ever.
type keySource struct {
	begin func() credentials.CredentialsProvider

	mu       sync.Mutex
	provider credentials.CredentialsProvider
}

func newKeySource(begin func() credentials.CredentialsProvider) *keySource {
	return &keySource{begin: begin, provider: begin()}
}

// GetCredentials asks the provider, and after a failure a new one the next time.
func (k *keySource) GetCredentials() (*credentials.Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	got, err := k.provider.GetCredentials()
	if err != nil {
		k.provider = k.begin()
	}
	return got, err
}

// GetProviderName is the name of the provider.
func (k *keySource) GetProviderName() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.provider.GetProviderName()
}
