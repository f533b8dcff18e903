package eci

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Class says what a caller may do about an error.
type Class int

// The classes; a code that is not in the table is Unknown.
const (
	Unknown  Class = iota
	Retry          // back off and send the same request, same client token
	Capacity       // another zone, type or vSwitch, with a new client token
	NoCache        // again without the image cache
	Stop           // can't heal by itself: quota, arrears, permission, keys
	Config         // the request is wrong
	NotFound       // the object does not exist
)

func (c Class) String() string {
	names := [...]string{"unknown", "retry", "capacity", "no cache", "stop", "config", "not found"}
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("class %d", int(c))
	}
	return names[c]
}

// Error is a failed API call. It never holds a URL: the SDK's errors carry
// signed ones with every parameter, so their text is not taken over.
type Error struct {
	Op         string // e.g. "create container group"
	ID         string // the group, where there is one
	Code       string // "" when no answer of the API was read
	Message    string
	RequestID  string
	HTTPStatus int    // 0 when no answer came
	Action     string // of the API, which is also the RAM action
	Endpoint   string // host that was called
	Region     string
	noKeys     bool   // nothing was sent: there are no credentials
	unreached  string // the WebSocket host, where no connection to it could be had
	cause      error
	observer   Observer // of the client
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	for _, s := range []string{e.Code, e.Message} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request id %s)", e.RequestID)
	}
	return b.String()
}

// Unwrap returns the cause, e.g. context.Canceled; never an error of the SDK.
func (e *Error) Unwrap() error { return e.cause }

// Unreached returns the WebSocket host of an exec that the API has allowed but that could not
// be connected to; "" for every other error.
func Unreached(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.unreached
}

// ClassOf returns the class of err, Unknown when it is not an *Error. For a code that is not
// in the table the HTTP status decides.
func ClassOf(err error) Class {
	var e *Error
	if !errors.As(err, &e) {
		return Unknown
	}
	if c, ok := codeOf(e.Code); ok {
		return c.Class
	}
	switch {
	case e.noKeys:
		return Unknown
	case e.HTTPStatus >= 500, e.HTTPStatus == http.StatusTooManyRequests, e.HTTPStatus == 0 && e.Code == "":
		return Retry
	}
	return Unknown
}

// Ambiguous tells whether the call may have taken effect in spite of err: no
// answer, an unreadable one or a 5xx. Only a 4xx with a code is a definite refusal.
func Ambiguous(err error) bool {
	if err == nil {
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		return true
	}
	return e.Code == "" || e.HTTPStatus < 400 || e.HTTPStatus >= 500
}
