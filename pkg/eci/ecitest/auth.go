package ecitest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// clockSkew is how far a request's time may be off.
const clockSkew = 15 * time.Minute

// acs3 is the signature of the newer SDKs, the only one of its kind that is taken.
const acs3 = "ACS3-HMAC-SHA256"

// authenticate verifies a call of either generation of SDKs: V1 signs the
// parameters and sends the signature as one of them, ACS3 signs the request and
// sends it in the header Authorization. body is what was read of the request.
func (s *Server) authenticate(r *http.Request, body []byte) *apiError {
	if r.Header.Get("Authorization") != "" {
		return s.authenticateACS3(r, body)
	}
	return s.authenticateV1(r)
}

// authenticateV1 follows sdk/auth/rpc_signature_composer.go of alibaba-cloud-sdk-go.
func (s *Server) authenticateV1(r *http.Request) *apiError {
	for _, name := range []string{"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "SignatureNonce"} {
		if r.Form.Get(name) == "" {
			return missing(name)
		}
	}
	if r.Form.Get("SignatureMethod") != "HMAC-SHA1" || r.Form.Get("SignatureVersion") != "1.0" {
		return invalid("InvalidParameter", "only SignatureMethod HMAC-SHA1 with SignatureVersion 1.0 is supported")
	}
	if err := s.checkCaller(r.Form.Get("AccessKeyId"), r.Form.Get("Timestamp")); err != nil {
		return err
	}
	if !hmac.Equal([]byte(signV1(r.Method, r.Form, s.opts.AccessKeySecret)), []byte(r.Form.Get("Signature"))) {
		return signatureMismatch()
	}
	return nil
}

// authenticateACS3 checks Authorization: ACS3-HMAC-SHA256 Credential=<key>,
// SignedHeaders=<names joined by ;>,Signature=<hex>.
func (s *Server) authenticateACS3(r *http.Request, body []byte) *apiError {
	incomplete := invalid("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
	algorithm, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if algorithm != acs3 {
		return incomplete
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	for _, name := range []string{"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"} {
		if !slices.Contains(signed, name) {
			return incomplete
		}
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("x-acs-content-sha256") != hex.EncodeToString(sum[:]) {
		return signatureMismatch()
	}
	if err := s.checkCaller(fields["Credential"], r.Header.Get("x-acs-date")); err != nil {
		return err
	}
	if !hmac.Equal([]byte(signACS3(r, signed, s.opts.AccessKeySecret)), []byte(fields["Signature"])) {
		return signatureMismatch()
	}
	return nil
}

// checkCaller checks what both signatures have in common.
func (s *Server) checkCaller(key, timestamp string) *apiError {
	if key != s.opts.AccessKeyID {
		return &apiError{http.StatusNotFound, "InvalidAccessKeyId.NotFound", "Specified access key is not found."}
	}
	at, err := time.Parse(time.RFC3339, timestamp)
	if err != nil || s.now().Sub(at).Abs() > clockSkew {
		return invalid("IllegalTimestamp", "The input parameter \"Timestamp\" is not well formatted or too far from now.")
	}
	return nil
}

func signatureMismatch() *apiError {
	return &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation."}
}

// signV1 is the V1 signature of a call over all its parameters but Signature.
func signV1(method string, form url.Values, secret string) string {
	signed := url.Values{}
	for name, values := range form {
		if name != "Signature" {
			signed[name] = values
		}
	}
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(method + "&%2F&" + url.QueryEscape(percentEncode(signed))))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signACS3 is the ACS3 signature of a request whose body's digest stands in
// x-acs-content-sha256. Form parameters are signed with the body.
func signACS3(r *http.Request, signed []string, secret string) string {
	var headers strings.Builder
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), percentEncode(r.URL.Query()), headers.String(),
		strings.Join(signed, ";"), r.Header.Get("x-acs-content-sha256"),
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(acs3 + "\n" + hex.EncodeToString(sum[:])))
	return hex.EncodeToString(mac.Sum(nil))
}

// percentEncode is v sorted and encoded as RFC 3986 has it.
func percentEncode(v url.Values) string {
	return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(v.Encode())
}
