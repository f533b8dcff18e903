package eci

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// Identity is whose the credentials are.
type Identity struct {
	Type      string // Account, RAMUser, AssumedRoleUser
	AccountID string
	ARN       string // acs:ram::<account>:user/<name>, or assumed-role/<role>/<session>
}

// Key is the access key that calls are signed with: its id, and where it comes from in the
// SDK's words. Its secret is not in it.
type Key struct{ ID, Source string }

// Key gets the credentials, which may take a call of the metadata service.
func (c *Client) Key(ctx context.Context) (Key, error) {
	type answer struct {
		key Key
		err error
	}
	done := make(chan answer, 1)
	go func() { // the SDK knows no context
		got, err := c.keys.GetCredentials()
		if err != nil {
			err = &Error{Op: "find credentials", Message: (&keysError{err}).Error(), noKeys: true}
			done <- answer{err: err}
			return
		}
		done <- answer{key: Key{got.AccessKeyId, got.ProviderName}}
	}()
	select {
	case <-ctx.Done():
		return Key{}, c.left(call{op: "find credentials"}, context.Cause(ctx))
	case a := <-done:
		return a.key, a.err
	}
}

// STSEndpoint is the URL of the Security Token Service that goes with an endpoint of
// ECI, "" for one that is not Alibaba Cloud's.
func STSEndpoint(eci string) string {
	u, err := url.Parse(eci)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".aliyuncs.com") {
		return ""
	}
	service, rest, _ := strings.Cut(u.Hostname(), ".")
	return "https://" + strings.Replace(service, "eci", "sts", 1) + "." + rest
}

// GetCallerIdentity asks STS, at its URL, whose the credentials are. It needs no RAM
// permission (services/sts of the SDK; STS 2015-04-01).
func (c *Client) GetCallerIdentity(ctx context.Context, endpoint string) (Identity, error) {
	sts, err := New(Options{Region: c.options.Region, Endpoint: endpoint, Credentials: c.options.Credentials,
		CallTimeout: c.options.CallTimeout, UserAgent: c.options.UserAgent})
	if err != nil {
		return Identity{}, fmt.Errorf("asking whose the credentials are: %w", err)
	}
	sts.keys, sts.product, sts.version = c.keys, "Sts", "2015-04-01"
	var answer struct{ IdentityType, AccountId, Arn string }
	err = sts.do(ctx, call{action: "GetCallerIdentity", op: "ask whose the credentials are"}, &answer)
	return Identity{answer.IdentityType, answer.AccountId, answer.Arn}, err
}
