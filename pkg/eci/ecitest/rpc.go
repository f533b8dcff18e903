package ecitest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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

// maxBody bounds a request's form body; a group of 20 containers fits.
const maxBody = 4 << 20

// clockSkew is how far a request's Timestamp may be off.
const clockSkew = 15 * time.Minute

// serveRPC answers one API call: POST or GET on /, parameters in query and form
// body alike, action from the parameter Action or the header x-acs-action.
func (s *Server) serveRPC(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	call := Call{Time: time.Now()}
	requestID := newRequestID()
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, requestID, &call, invalid("InvalidParameter", "the request can't be parsed: %v", err))
		return
	}
	call.Params = r.Form
	for name := range r.URL.Query() {
		call.InQuery = append(call.InQuery, name)
	}
	slices.Sort(call.InQuery)
	if call.Action = r.Form.Get("Action"); call.Action == "" {
		call.Action = r.Header.Get("x-acs-action")
	}
	fault := s.callFault(call.Action, call.Params)
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
		s.refuse(w, r, requestID, &call, refusal)
		return
	}
	answer, refusal := s.dispatch(r, call.Action)
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
		s.refuse(w, r, requestID, &call, refusal)
	default:
		answer["RequestId"] = requestID
		s.answer(w, &call, http.StatusOK, answer)
	}
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
func (s *Server) dispatch(r *http.Request, action string) (map[string]any, *apiError) {
	if err := s.authenticate(r); err != nil {
		return nil, err
	}
	if v := r.Form.Get("Version"); v != apiVersion {
		return nil, invalid("NoSuchVersion", "the specified version %q does not exist", v)
	}
	allowed, ok := actionParams(action)
	if !ok {
		return nil, &apiError{http.StatusNotFound, "InvalidAction.NotFound", "the specified action " + action + " is not found"}
	}
	if !s.opts.Switches.UnknownParametersIgnored {
		if name := unknownParam(r.Form, allowed); name != "" {
			return nil, invalid("InvalidParameter", "action %s has no parameter %s", action, name)
		}
	}
	p := &params{v: r.Form}
	p.required("RegionId")
	if p.err != nil {
		return nil, p.err
	}
	switch action {
	case "CreateContainerGroup":
		return s.createContainerGroup(p)
	case "DescribeContainerGroups":
		return s.describeContainerGroups(p)
	case "DescribeContainerGroupStatus":
		return s.describeContainerGroupStatus(p)
	case "DescribeContainerGroupEvents":
		return s.describeContainerGroupEvents(p)
	case "DeleteContainerGroup":
		return s.deleteContainerGroup(p)
	default:
		return s.execContainerCommand(r.Context(), p)
	}
}

// authenticate verifies the V1 signature (sdk/auth/rpc_signature_composer.go).
func (s *Server) authenticate(r *http.Request) *apiError {
	for _, name := range []string{"AccessKeyId", "Signature", "Timestamp", "SignatureNonce"} {
		if r.Form.Get(name) == "" {
			return invalid("MissingParameter", "the parameter %s is required", name)
		}
	}
	if r.Form.Get("AccessKeyId") != s.opts.AccessKeyID {
		return &apiError{http.StatusNotFound, "InvalidAccessKeyId.NotFound", "Specified access key is not found."}
	}
	at, err := time.Parse(time.RFC3339, r.Form.Get("Timestamp"))
	if err != nil || time.Since(at).Abs() > clockSkew {
		return invalid("IllegalTimestamp", "The input parameter \"Timestamp\" is not well formatted or too far from now.")
	}
	want := sign(r.Method, r.Form, s.opts.AccessKeySecret)
	if !hmac.Equal([]byte(want), []byte(r.Form.Get("Signature"))) {
		return &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation."}
	}
	return nil
}

// sign is the V1 signature of a call over all its parameters but Signature.
func sign(method string, form url.Values, secret string) string {
	signed := url.Values{}
	for name, values := range form {
		if name != "Signature" {
			signed[name] = values
		}
	}
	text := strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(signed.Encode())
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(method + "&%2F&" + url.QueryEscape(text)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// cutCall ends a call without an answer.
func (s *Server) cutCall(r *http.Request, call *Call) {
	call.Code = "cut"
	s.record(call)
	cut(r)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, requestID string, call *Call, e *apiError) {
	call.Code = e.Code
	s.answer(w, call, e.Status, map[string]any{
		"RequestId": requestID, "HostId": r.Host, "Code": e.Code, "Message": e.Message,
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

func (s *Server) record(call *Call) {
	call.Duration = time.Since(call.Time)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, *call)
	s.opts.Log("ecitest: %s %d %s %s", call.Action, call.HTTPStatus, call.Code, call.Duration)
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
