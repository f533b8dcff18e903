package eci

import (
	"bytes"
	"errors"
	"fmt"
)

// answerOf is the code of an answer for an Observer.
func answerOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "OK"
	case !errors.As(err, &e) || e.Code == "" && e.HTTPStatus == 0:
		return "none"
	case e.Code == "":
		return fmt.Sprintf("HTTP %d", e.HTTPStatus)
	}
	return e.Code
}

// retried tells the observer that the call that failed with err is made again.
func retried(err error) {
	var e *Error
	if errors.As(err, &e) && e.observer != nil {
		e.observer.Retried(e.Action, answerOf(err))
	}
}

func requestIDOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.RequestID
}

// requestIDIn finds the request's id in an answer. It looks for the text, because the JSON
// may be large and has been decoded once already.
func requestIDIn(body []byte) string {
	_, rest, _ := bytes.Cut(body, []byte(`"RequestId"`))
	rest = bytes.TrimLeft(rest, `: "`)
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	if len(id) > 64 {
		return ""
	}
	return string(id)
}
