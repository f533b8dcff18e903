package eci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/testport"
)

// TestWireForm: everything of ours travels in the body, so that no proxy or log
// of URLs sees a password and no limit of a URL's length cuts a job.
func TestWireForm(t *testing.T) {
	var query, form url.Values
	var method string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		method, query, form = r.Method, r.URL.Query(), r.PostForm
		reply(w, 200, map[string]any{"RequestId": "REQ-1", "ContainerGroupId": "eci-1"})
	})
	params := fullSpec().Params()
	id, err := c.CreateContainerGroup(context.Background(), params)
	if err != nil || id != "eci-1" || method != http.MethodPost {
		t.Fatalf("%s gave %q, %v", method, id, err)
	}
	got := Params{}
	for key := range form {
		got[key] = form.Get(key)
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ours := params[key]; !ours && query.Has(key) {
			delete(got, key)
		}
	}
	if d := cmp.Diff(params, got); d != "" {
		t.Errorf("the body differs (-want +got):\n%s", d)
	}
	want := []string{"AccessKeyId", "Action", "Format", "RegionId", "SecurityToken", "Signature", "SignatureMethod",
		"SignatureNonce", "SignatureType", "SignatureVersion", "Timestamp", "Version"}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(query))); d != "" {
		t.Errorf("names in the query (-want +got):\n%s", d)
	}
	for key, value := range map[string]string{"Action": "CreateContainerGroup", "Version": "2018-08-08", "RegionId": "ap-northeast-1", "AccessKeyId": testKey} {
		if query.Get(key) != value {
			t.Errorf("%s = %q, want %q", key, query.Get(key), value)
		}
	}
}

// TestServerError: a person needs code, text and request id to ask support.
func TestServerError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 403, "OperationDenied.NoStock", "The zone has no stock.")
	})
	_, err := c.CreateContainerGroup(context.Background(), minimalSpec().Params())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	want := Error{Op: "create container group", ID: "ci-1-2-abc", Code: "OperationDenied.NoStock", Message: "The zone has no stock.",
		RequestID: "REQ-1", HTTPStatus: 403, Action: "CreateContainerGroup", Endpoint: c.endpoint.Host, Region: "ap-northeast-1"}
	if *e != want {
		t.Errorf("got  %+v\nwant %+v", *e, want)
	}
	text := "create container group ci-1-2-abc: OperationDenied.NoStock: The zone has no stock. (request id REQ-1)"
	if e.Error() != text {
		t.Errorf("text %q, want %q", e.Error(), text)
	}
}

// TestErrorsHoldNoSecret: errors land in job logs, and those of the SDK and of
// net/http hold signed URLs.
func TestErrorsHoldNoSecret(t *testing.T) {
	params := fullSpec().Params()
	tests := []struct {
		name    string
		handler http.HandlerFunc // nil: nothing listens
		timeout time.Duration
		class   Class
		text    string
	}{
		{"connection refused", nil, 0, Retry, "did not answer"},
		{"cut before the answer", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, 0, Retry, "did not answer"},
		{"cut in the answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"RequestId":`)
		}, 0, Retry, "EOF"},
		{"no JSON", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "<html>%s", r.URL) }, 0, Retry, "not the JSON of ECI"},
		{"no object", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `["x"]`) }, 0, Retry, "not the JSON of ECI"},
		{"an answer without an id", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"RequestId":"R-1"}`) }, 0, Retry, "no group id (request id R-1)"},
		{"the call's own timeout", func(_ http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			<-r.Context().Done()
		}, 50 * time.Millisecond, Retry, "did not answer"},
		{"signature refused", func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			refuse(w, 403, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&"+
				url.QueryEscape(r.Form.Encode()))
		}, 0, Stop, "Specified signature is not matched"},
		{"JSON that makes the SDK panic", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"Code":500,"Message":{}}`)
		}, 0, Retry, "not one of ECI"},
		{"a proxy's page", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(502)
			r.ParseForm()
			fmt.Fprintf(w, "<html>can't reach %s %s", r.URL, r.PostForm.Encode())
		}, 0, Retry, "502"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			endpoint := "http://" + testport.Closed(t)
			if tt.handler != nil {
				server := httptest.NewServer(tt.handler)
				t.Cleanup(server.Close)
				endpoint = server.URL
			}
			c := newClient(t, endpoint, func(o *Options) {
				if tt.timeout != 0 {
					o.CallTimeout = tt.timeout
				}
			})
			_, err := c.CreateContainerGroup(context.Background(), params)
			if err == nil || !strings.Contains(err.Error(), tt.text) || ClassOf(err) != tt.class {
				t.Errorf("class %d, want %d, text %q in: %v", ClassOf(err), tt.class, tt.text, err)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is no *Error", err)
			}
			for _, inner := range []string{"&{", "*errors.", "*url.", "*net.", "errors.ServerError", "goroutine"} {
				if text := err.Error() + e.Advice(); strings.Contains(text, inner) {
					t.Errorf("%q, of Go alone, is in the error: %.300s", inner, text)
				}
			}
			text := fmt.Sprintf("%v %+v %#v %s %v", err, err, *e, e.Advice(), errors.Unwrap(err))
			for _, secret := range []string{"AccessKeyId", "Signature=", "Signature%", testKey, testSecret, testToken, "pull-pass", "job-secret"} {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in the error: %.300s", secret, text)
				}
			}
		})
	}
}

// TestContext: a cancelled job doesn't wait for the SDK, which knows no context.
func TestContext(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 1)
	c := serve(t, func(_ http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) }) // runs before the server's Close
	reason := errors.New("the job was cancelled by its user")
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error, 1)
	go func() { result <- c.DeleteContainerGroup(ctx, "eci-1", false) }()
	<-arrived
	cancel(reason)
	select {
	case err := <-result:
		if !errors.Is(err, reason) || !strings.Contains(err.Error(), "eci-1") {
			t.Errorf("the cause is not kept: %v", err)
		}
		var e *Error
		if errors.As(err, &e) && e.Advice() != "" {
			t.Errorf("advice about an endpoint that is well: %s", e.Advice())
		}
		if !Ambiguous(err) {
			t.Error("a call that was left is not ambiguous")
		}
	case <-time.After(time.Minute):
		t.Fatal("the call outlives its context")
	}
	// One that is over before is not even sent.
	if err := c.DeleteContainerGroup(ctx, "eci-2", false); !errors.Is(err, reason) {
		t.Errorf("got %v, want the cause", err)
	}
	if len(arrived) != 0 {
		t.Error("a call was sent under a context that was over")
	}
}

// TestParallel is for -race: one SDK client is not safe for parallel calls.
func TestParallel(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		reply(w, 200, map[string]any{"ContainerGroups": []map[string]any{{"ContainerGroupName": r.PostForm.Get("ContainerGroupName")}}})
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("ci-%d", i)
			for range 5 {
				groups, err := c.DescribeContainerGroups(context.Background(), Query{Name: name})
				if err != nil || len(groups) != 1 || groups[0].Name != name {
					t.Errorf("%s: got %v, %v", name, groups, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestNewRefusesEndpoints: a bad endpoint shows at the start, not in a job.
func TestNewRefusesEndpoints(t *testing.T) {
	for _, endpoint := range []string{"", "eci.cn-hangzhou.aliyuncs.com", "ftp://eci.test", "https://", "://x", "https:/eci.test", "ht tp://x"} {
		_, err := New(Options{Region: "cn-hangzhou", Endpoint: endpoint})
		if err == nil || !strings.Contains(err.Error(), "https://eci.cn-hangzhou.aliyuncs.com") {
			t.Errorf("%q: %v, want an error with an example", endpoint, err)
		}
	}
	if _, err := New(Options{Region: "cn-hangzhou", Endpoint: "https://eci.cn-hangzhou.aliyuncs.com"}); err != nil {
		t.Error(err)
	}
}
