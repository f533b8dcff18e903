package ecitest

import (
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/eci-executor/eci-executor/internal/pattern"
)

// Call is one API call that arrived, refused or not.
type Call struct {
	Action     string
	Time       time.Time
	Duration   time.Duration
	Params     url.Values // without the values of secrets
	Secrets    Secrets    // the values that Params masks, under the same names
	InQuery    []string   // names of the parameters that came in the URL
	Code       string     // error code; "" on success, "cut" where a fault cut the connection, "left" where the caller did not wait
	Message    string     // of the error
	HTTPStatus int        // 0 where there was no answer
	RequestID  string
}

// All are the parameters with the true values of secrets.
func (c Call) All() url.Values {
	all := maps.Clone(c.Params)
	maps.Copy(all, url.Values(c.Secrets))
	return all
}

// Secrets are parameters that are never printed, by fmt or as JSON.
type Secrets url.Values

// masked is what is shown in the place of a secret.
const masked = "[masked]"

func (Secrets) String() string { return masked }

// GoString is what %#v shows.
func (Secrets) GoString() string { return masked }

// MarshalText is what encoding/json shows.
func (Secrets) MarshalText() ([]byte, error) { return []byte(masked), nil }

// secretParam matches registry passwords, the values of environment variables
// and what a call is signed with.
var secretParam = pattern.Lazy(`^ImageRegistryCredential\.\d+\.Password$|\.EnvironmentVar\.\d+\.Value$|^Signature$|^SecurityToken$`)

// setParams records a call's parameters, secrets apart.
func (c *Call) setParams(form, query url.Values) {
	c.Params, c.Secrets = url.Values{}, Secrets{}
	for name, values := range form {
		if secretParam().MatchString(name) {
			c.Secrets[name] = values
			values = []string{masked}
		}
		c.Params[name] = values
	}
	c.InQuery = slices.Sorted(maps.Keys(query))
}

// Calls lists all calls so far in the order of their answers.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Server) record(call *Call) {
	call.Duration = time.Since(call.Time)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, *call)
	s.opts.Log("ecitest: %s %d %s %s", call.Action, call.HTTPStatus, call.Code, call.Duration)
}
