package ecitest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// apiError is an answer that refuses a call.
type apiError struct {
	Status  int
	Code    string
	Message string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

func invalid(code, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func missing(name string) *apiError {
	return invalid("MissingParameter", "The input parameter %q that is mandatory for processing this request is not supplied.", name)
}

// notFound has the only status that is documented for its code.
func notFound(format string, args ...any) *apiError {
	return &apiError{http.StatusNotFound, "InvalidParameter.NotFound", fmt.Sprintf(format, args...)}
}

func forbidden(code, format string, args ...any) *apiError {
	return &apiError{http.StatusForbidden, code, fmt.Sprintf(format, args...)}
}

// maxBody bounds a request's form body; a group of 20 containers fits.
const maxBody = 4 << 20

// serveRPC answers one API call: POST or GET on /, parameters in query and form
// body alike, action and version from parameters or from the headers
// x-acs-action and x-acs-version.
func (s *Server) serveRPC(w http.ResponseWriter, r *http.Request) {
	call := Call{Time: time.Now(), RequestID: newRequestID()}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	body, refusal := readRequest(w, r)
	if refusal != nil {
		s.refuse(w, r, &call, refusal)
		return
	}
	call.setParams(r.Form, r.URL.Query())
	if call.Action = r.Form.Get("Action"); call.Action == "" {
		call.Action = r.Header.Get("x-acs-action")
	}
	fault := s.callFault(call.Action, r.Form)
	if !s.pause(r.Context(), s.opts.Delays.API+fault.Delay) {
		s.cutCall(r, &call) // an empty answer would be one
		return
	}
	switch {
	case fault.CutBefore:
		s.cutCall(r, &call)
		return
	case fault.Code != "" || fault.Status != 0:
		refusal := &apiError{fault.Status, fault.Code, fault.Message}
		if refusal.Status == 0 {
			refusal.Status = http.StatusBadRequest
		}
		s.refuse(w, r, &call, refusal)
		return
	}
	answer, refusal := s.dispatch(w.Header(), r, body, call.Action)
	if !s.pause(r.Context(), fault.DelayAfter) {
		s.cutCall(r, &call)
		return
	}
	if fault.Truncate {
		w = &truncated{ResponseWriter: w, left: fault.TruncateAfter, cut: func() { cut(r) }}
	}
	switch {
	case fault.CutAfter:
		s.cutCall(r, &call)
	case refusal != nil:
		s.refuse(w, r, &call, refusal)
	default:
		answer["RequestId"] = call.RequestID
		s.answer(w, &call, http.StatusOK, answer)
	}
}

// readRequest fills r.Form from query and body and returns the body, which one
// of the signatures covers.
func readRequest(w http.ResponseWriter, r *http.Request) ([]byte, *apiError) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		err = r.ParseForm()
	}
	if err != nil {
		return nil, invalid("InvalidParameter", "the request can't be parsed: %v", err)
	}
	return body, nil
}

func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.ctx.Done():
		return false
	}
}

// dispatch checks what all actions have in common and runs the action.
func (s *Server) dispatch(header http.Header, r *http.Request, body []byte, name string) (map[string]any, *apiError) {
	if err := s.authenticate(r, body); err != nil {
		return nil, err
	}
	version := r.Form.Get("Version")
	setDefault(&version, r.Header.Get("x-acs-version"))
	if version != apiVersion {
		return nil, invalid("NoSuchVersion", "the specified version %q does not exist", version)
	}
	action, ok := s.actions[name]
	if !ok {
		return nil, &apiError{http.StatusNotFound, "InvalidAction.NotFound", "the specified action " + name + " is not found"}
	}
	if err := s.throttle(header, name, r.Form.Get("RegionId"), action.perMinute); err != nil {
		return nil, err
	}
	p := &params{ctx: r.Context(), v: r.Form}
	p.checkNames(name, action, &s.opts.Switches)
	p.region(action.anyRegion)
	if p.err != nil {
		return nil, p.err
	}
	if strings.Contains(action.params, "ClientToken") {
		return s.once(name, p, func() (map[string]any, *apiError) { return action.serve(s, p) })
	}
	return action.serve(s, p)
}

// cutCall ends a call without an answer.
func (s *Server) cutCall(r *http.Request, call *Call) {
	if call.Code = "cut"; r.Context().Err() != nil {
		call.Code = "left"
	}
	s.record(call)
	cut(r)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, call *Call, e *apiError) {
	call.Code, call.Message = e.Code, e.Message
	s.answer(w, call, e.Status, map[string]any{
		"RequestId": call.RequestID, "HostId": r.Host, "Code": e.Code, "Message": e.Message,
		"Recommend": "https://api.aliyun.com/troubleshoot?q=" + url.QueryEscape(e.Code),
	})
}

func (s *Server) answer(w http.ResponseWriter, call *Call, status int, body map[string]any) {
	call.HTTPStatus = status
	s.record(call) // before the answer: a test that has it finds the call
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	text, err := json.Marshal(body)
	if err == nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(status)
		_, err = w.Write(text)
	}
	if err != nil {
		s.opts.Log("ecitest: answer %s: %v", call.Action, err)
	}
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
