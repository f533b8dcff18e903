package eci

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
)

// Ask makes one call of any action and returns the answer's JSON as it came: for
// looking at the API itself. An error is an *Error.
func (c *Client) Ask(ctx context.Context, action string, p Params) (json.RawMessage, error) {
	var answer json.RawMessage
	err := c.do(ctx, call{action: action, op: "ask " + action, params: p}, &answer)
	return answer, err
}

// DryRun sends the request of a container group to be checked alone. nil means that
// it passed: the service says so by an error (sources.md: create). A service that does
// not know DryRun makes the group, whose id comes back and must be deleted.
func (c *Client) DryRun(ctx context.Context, p Params) (made string, err error) {
	dry := Params{"DryRun": "true"}
	for key, value := range p {
		if key != "ClientToken" { // it would be used up
			dry[key] = value
		}
	}
	made, err = c.CreateContainerGroup(ctx, dry)
	if code := CodeOf(err); code == "DryRunOperation" || strings.HasPrefix(code, "DryRun.") {
		return "", nil
	}
	return made, err
}

// CodeOf is the error code of an answer of the API, "" where err is something else.
func CodeOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// Denied tells whether err is the refusal of a RAM action that is not allowed to
// the caller, and so nothing about the object of the call (sources.md: codes).
func Denied(err error) bool {
	switch CodeOf(err) {
	case "NoPermission", "Forbidden", "Forbidden.RAM", "Forbidden.Unauthorized", "Forbidden.NotSupportRAM":
		return true
	}
	return false
}
