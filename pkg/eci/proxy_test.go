package eci

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxied has the endpoint that a process of TestProxies asks, as net/http reads the
// variables of proxies once.
const proxied = "ECI_TEST_PROXIED_ENDPOINT"

func askByProxy(endpoint string) {
	c, err := New(Options{Region: "ap-northeast-1", Endpoint: endpoint, CallTimeout: 9 * time.Second,
		Credentials: Credentials{AccessKeyID: testKey, AccessKeySecret: testSecret}})
	if err == nil {
		_, err = c.DescribeContainerGroups(context.Background(), Query{})
	}
	fmt.Println(err)
}

// TestProxies: calls of the API go by a proxy, or past it, as exec connections and all
// other programs of the host do, whose list of exceptions is NO_PROXY.
func TestProxies(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		reply(w, 200, map[string]any{"RequestId": "REQ-1"})
	}))
	defer proxy.Close()
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]any{"RequestId": "REQ-1"})
	}))
	defer direct.Close()
	const away = "http://eci.ap-northeast-1.invalid" // no host has this name
	tests := []struct {
		name, endpoint, proxy, except string
		byProxy                       bool
	}{
		{"a proxy", away, proxy.URL, "", true},
		{"without its scheme", away, strings.TrimPrefix(proxy.URL, "http://"), "", true},
		{"exceptions that end with a comma", away, proxy.URL, "localhost,127.0.0.1,", true},
		{"an address in brackets", away, proxy.URL, "localhost,[::1]", true},
		{"a pattern that is none", away, proxy.URL, "**,[z-a]", true},
		{"an exception after a space", away, proxy.URL, "localhost, .ap-northeast-1.invalid", false},
		{"this host", direct.URL, proxy.URL, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked.Store(0)
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), proxied+"="+tt.endpoint, "HTTP_PROXY="+tt.proxy, "NO_PROXY="+tt.except)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s%v", out, err)
			}
			if n := asked.Load(); (n == 1) != tt.byProxy || n > 1 {
				t.Errorf("the proxy was asked %d times: %s", n, out)
			}
			if answered := string(out) == "<nil>\n"; answered != (tt.byProxy || tt.endpoint == direct.URL) {
				t.Errorf("error %s", out)
			}
		})
	}
}
