package ecitest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// What holds for each action alike.
func TestEveryAction(t *testing.T) {
	s := start(t, ecitest.Options{})
	for action := range strings.FieldsSeq(`CreateContainerGroup DeleteContainerGroup DescribeContainerGroups
		DescribeContainerGroupStatus DescribeContainerGroupEvents DescribeContainerLog ExecContainerCommand CreateImageCache
		DescribeImageCaches UpdateImageCache DeleteImageCache DescribeContainerGroupPrice DescribeRegions
		DescribeAvailableResource ListUsage`) {
		region := "400 MissingParameter"
		if action == "DescribeRegions" {
			region = "200"
		}
		t.Run(action, func(t *testing.T) {
			runTable(t, s, action, map[string]string{}, []actionTest{
				{"no region", pairs("RegionId", ""), region},
				{"unknown region", pairs("RegionId", "ap-northeast-9"), "400 InvalidParameter"},
				{"unknown parameter", pairs("Colour", "red"), "400 InvalidParameter"},
			})
		})
	}
	t.Run("an action that is not there", func(t *testing.T) {
		if _, got := outcome(t, s, "MakeCoffee", nil); got != "404 InvalidAction.NotFound" {
			t.Error(got)
		}
	})
}

func TestKeys(t *testing.T) {
	s := start(t, ecitest.Options{})
	for _, tt := range []struct{ name, key, secret, code string }{
		{"right", "local", "local-secret", ""},
		{"wrong secret", "local", "other", "SignatureDoesNotMatch"},
		{"unknown key", "other", "local-secret", "InvalidAccessKeyId.NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, code := callAs(t, s, tt.key, tt.secret, "DescribeContainerGroups", nil); code != tt.code {
				t.Errorf("code %q, want %q", code, tt.code)
			}
		})
	}
}

// Calls that no SDK makes.
func TestRawRequests(t *testing.T) {
	s := start(t, ecitest.Options{})
	const acs3 = "ACS3-HMAC-SHA256 Credential=local,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=00"
	for _, tt := range []struct {
		name, method, path string
		header             map[string]string
		want               string
	}{
		{"unsigned", "POST", "/?Action=ListUsage", nil, "400 MissingParameter"},
		{"by GET", "GET", "/?Action=ListUsage", nil, "400 MissingParameter"},
		{"by PUT", "PUT", "/", nil, "405 "},
		{"another path", "POST", "/api", nil, "404 "},
		{"unknown algorithm", "POST", "/", pairs("Authorization", "ACS3-HMAC-SM3 Credential=local"), "400 IncompleteSignature"},
		{"few headers signed", "POST", "/", pairs("Authorization", "ACS3-HMAC-SHA256 Credential=local,SignedHeaders=host,Signature=00"), "400 IncompleteSignature"},
		{"another body", "POST", "/", pairs("Authorization", acs3, "x-acs-content-sha256", "00"), "403 SignatureDoesNotMatch"},
		{"an old time", "POST", "/", pairs("Authorization", acs3, "x-acs-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "x-acs-date", "2020-01-01T00:00:00Z"), "400 IllegalTimestamp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL()+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var answer struct{ Code, RequestId, HostId, Recommend string }
			_ = json.NewDecoder(response.Body).Decode(&answer) // the mux answers in plain text
			if got := fmt.Sprint(response.StatusCode, " ", answer.Code); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if answer.Code != "" && (answer.RequestId == "" || answer.HostId == "" || answer.Recommend == "") {
				t.Errorf("%+v lacks a field", answer)
			}
		})
	}
}

// The server's clock is a client's to read, and its own to judge by.
func TestClock(t *testing.T) {
	s := start(t, ecitest.Options{ClockOffset: 10 * time.Minute})
	response, err := http.Get(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	date, err := http.ParseTime(response.Header.Get("Date"))
	if ahead := time.Until(date); err != nil || ahead < 9*time.Minute || ahead > 11*time.Minute {
		t.Errorf("the date is %s ahead, %v", ahead, err)
	}
	g := describe(t, s, create(t, s, script("exit 0")))
	created, err := time.Parse(time.RFC3339, g["CreationTime"].(string))
	if ahead := time.Until(created); err != nil || ahead < 9*time.Minute {
		t.Errorf("CreationTime is %s ahead, %v", ahead, err)
	}
	far := start(t, ecitest.Options{ClockOffset: -20 * time.Minute})
	if _, got := outcome(t, far, "ListUsage", nil); got != "400 IllegalTimestamp" {
		t.Error(got)
	}
}

func TestRates(t *testing.T) {
	t.Run("documented figures", func(t *testing.T) {
		for action, perMinute := range map[string]int{
			"CreateContainerGroup": 1000, "DeleteContainerGroup": 1000, "DescribeContainerGroups": 2000, "ExecContainerCommand": 500,
			"DescribeContainerLog": 500, "DescribeContainerGroupPrice": 1000, "CreateImageCache": 200,
		} {
			s := start(t, ecitest.Options{Rates: ecitest.Rates{Scale: 0.005}})
			for n := range perMinute/200 + 1 { // what is refused for other reasons counts too
				_, got := outcome(t, s, action, pairs("Colour", "red"))
				want := "400 InvalidParameter"
				if n == perMinute/200 {
					want = "400 Throttling.User"
				}
				if got != want {
					t.Errorf("%s: call %d: %s, want %s", action, n, got, want)
				}
			}
		}
	})
	t.Run("none is published", func(t *testing.T) {
		s := start(t, ecitest.Options{Rates: ecitest.Rates{Scale: 0.001}})
		for range 5 {
			if _, got := outcome(t, s, "DescribeContainerGroupStatus", nil); got != "200" {
				t.Error(got)
			}
		}
	})
}

func TestCallsAreRecorded(t *testing.T) {
	s := start(t, ecitest.Options{})
	create(t, s, script("exit 0", "ImageRegistryCredential.1.Server", "r", "ImageRegistryCredential.1.UserName", "u",
		"ImageRegistryCredential.1.Password", "pass-word", "Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.Value", "val-ue"))
	outcome(t, s, "CreateContainerGroup", script("exit 0", "Cpu", "-1"))
	calls := s.Calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	made, refused := calls[0], calls[1]
	if made.Action != "CreateContainerGroup" || made.HTTPStatus != 200 || made.RequestID == "" || made.Duration <= 0 || made.Time.IsZero() {
		t.Errorf("%+v", made)
	}
	if refused.Code != "InvalidParameter" || refused.HTTPStatus != 400 || !strings.Contains(refused.Message, "Cpu") {
		t.Errorf("%+v", refused)
	}
	in := strings.Join(made.InQuery, " ")
	if !strings.Contains(in, "AccessKeyId") || strings.Contains(in, "Password") {
		t.Errorf("in the URL: %s", in)
	}
	for name, secret := range pairs("ImageRegistryCredential.1.Password", "pass-word", "Container.1.EnvironmentVar.1.Value", "val-ue") {
		if made.Params.Get(name) != "[masked]" || made.All().Get(name) != secret {
			t.Errorf("%s is %q, in truth %q", name, made.Params.Get(name), made.All().Get(name))
		}
		asJSON, err := json.Marshal(made)
		if shown := fmt.Sprintf("%v %+v %#v %s", made, made, made, asJSON); err != nil || strings.Contains(shown, secret) {
			t.Errorf("%s is shown (%v)", name, err)
		}
	}
}

// A call whose caller does not wait is recorded too, and has no effect.
func TestCallerLeaves(t *testing.T) {
	s := start(t, ecitest.Options{})
	arrived := make(chan struct{})
	s.SetFaults(ecitest.Faults{Call: func(string, int) ecitest.CallFault {
		close(arrived)
		return ecitest.CallFault{Delay: time.Hour}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL()+"/?Action=CreateContainerGroup", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := http.DefaultClient.Do(r); err == nil {
		t.Fatal("there is an answer")
	}
	for len(s.Calls()) == 0 { // the server learns it from the connection
		time.Sleep(time.Millisecond)
	}
	if c := s.Calls()[0]; c.Code != "left" || c.Action != "CreateContainerGroup" || c.HTTPStatus != 0 || len(s.Groups()) != 0 {
		t.Errorf("%+v, groups %v", c, s.Groups())
	}
}

// recorder stands for a test that has a group left at its end.
type recorder struct {
	cleanup func()
	errors  []string
	logs    []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = f }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func TestLeakCheck(t *testing.T) {
	s := start(t, ecitest.Options{})
	id := create(t, s, script("exec sleep 60"))
	leaky, clean := &recorder{}, &recorder{}
	ecitest.LeakCheck(leaky, s, time.Millisecond)
	ecitest.LeakCheck(clean, s, patience)
	leaky.cleanup()
	if len(leaky.errors) != 1 || !strings.Contains(leaky.errors[0], "1 container groups left") || !strings.Contains(leaky.errors[0], id) {
		t.Errorf("%q", leaky.errors)
	}
	remove(t, s, id)
	clean.cleanup()
	if len(clean.errors) > 0 || len(clean.logs) != 1 || clean.logs[0] != "0 container groups left" {
		t.Errorf("%q, %q", clean.errors, clean.logs)
	}
}
