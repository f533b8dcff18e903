package ecitest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestCallFaults(t *testing.T) {
	tests := []struct {
		name, rule, code string
		status           int // as recorded; 0 = no answer
		groups           int // made by the call
		least            time.Duration
	}{
		{"an error", "CreateContainerGroup:error=403/QuotaExceeded,message=too many", "QuotaExceeded", 403, 0, 0},
		{"cut before", "CreateContainerGroup:cut=before", "transport", 0, 0, 0},
		{"cut after", "CreateContainerGroup:cut=after", "transport", 0, 1, 0},
		{"truncated to nothing", "CreateContainerGroup:truncate=0", "transport", 200, 1, 0},
		{"truncated", "CreateContainerGroup:truncate=20", "transport", 200, 1, 0},
		{"late", "CreateContainerGroup:delay=100ms", "", 200, 1, 100 * time.Millisecond},
		{"late with its answer", "CreateContainerGroup:delay-after=100ms", "", 200, 1, 100 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, tt.rule)}})
			begun := time.Now()
			_, code := call(t, s, "CreateContainerGroup", script("exec sleep 60"))
			took := time.Since(begun)
			if code != tt.code || len(s.Groups()) != tt.groups || took < tt.least {
				t.Errorf("code %q after %s, %d groups", code, took, len(s.Groups()))
			}
			if calls := s.Calls(); len(calls) != 1 || calls[0].HTTPStatus != tt.status {
				t.Errorf("calls %+v", calls)
			}
			for _, g := range s.Groups() {
				remove(t, s, g.ID)
			}
		})
	}
}

// The delays are before and after the effect.
func TestDelaysAroundTheEffect(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		groups     int // made by a call that never got its answer
	}{
		{"before", "CreateContainerGroup:delay=1h", 0},
		{"after", "CreateContainerGroup:delay-after=1h", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arrived := make(chan struct{})
			s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, tt.rule), Call: func(string, int) ecitest.CallFault {
				close(arrived)
				return ecitest.CallFault{}
			}}})
			answered := make(chan struct{})
			var code string
			go func() {
				defer close(answered)
				_, code = call(t, s, "CreateContainerGroup", script("exec sleep 60"))
			}()
			<-arrived
			for len(s.Groups()) < tt.groups {
				time.Sleep(time.Millisecond) // no event tells
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if <-answered; code != "transport" || len(s.Groups()) != tt.groups {
				t.Errorf("answer %q, %d groups, want none and %d", code, len(s.Groups()), tt.groups)
			}
		})
	}
}

// A truncated answer has its true length in the header and an end too early.
func TestTruncatedAnswer(t *testing.T) {
	s := start(t, ecitest.Options{Faults: ecitest.Faults{Rules: rules(t, "*:truncate=10")}})
	response, err := http.PostForm(s.URL(), url.Values{"Action": {"DescribeContainerGroups"}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if len(body) != 10 || err == nil || !strings.Contains(err.Error(), "unexpected EOF") || response.ContentLength < 50 {
		t.Errorf("%d bytes of %d, %v", len(body), response.ContentLength, err)
	}
}
