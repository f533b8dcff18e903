package eci

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

const (
	testKey    = "LTAI-test-key-id"
	testSecret = "test-key-secret"
	testToken  = "test-sts-token"
)

// TestMain drops proxies, but where TestProxies asks by way of one.
func TestMain(m *testing.M) {
	if endpoint := os.Getenv(proxied); endpoint != "" {
		askByProxy(endpoint)
		return
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// newClient is a client of the endpoint; change sees its options first.
func newClient(t testing.TB, endpoint string, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		Region: "ap-northeast-1", Endpoint: endpoint, UserAgent: "eci-executor/test",
		Credentials: Credentials{AccessKeyID: testKey, AccessKeySecret: testSecret, SecurityToken: testToken},
		CallTimeout: 10 * time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs handler for the test and returns a client of it.
func serve(t testing.TB, handler http.HandlerFunc, change ...func(*Options)) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return newClient(t, server.URL, change...)
}

// reply answers as ECI's gateway does.
func reply(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// refuse answers with an error of the API.
func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"RequestId": "REQ-1", "HostId": "eci", "Code": code, "Message": message})
}
