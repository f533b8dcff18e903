package ecitest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/internal/testneed"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestMain(m *testing.M) {
	if done, code, err := sandbox.EnterUserNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, err) // tests that need containers say so
	} else if done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must come, on a busy machine too.
const patience = time.Minute

// start serves with an image "host"; the test ends with nothing live.
func start(t *testing.T, opts ecitest.Options) *ecitest.Server {
	t.Helper()
	testneed.Need(t, sandbox.Supported())
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	image, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	opts.Images = map[string]ecitest.Image{"host": image}
	s, err := ecitest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(info), opts.Dir) {
			t.Errorf("mounts below %s are left (%v)", opts.Dir, err)
		}
	})
	ecitest.LeakCheck(t, s, patience)
	return s
}

// call sends one action through the real SDK and decodes its answer; code is
// the server's error code, "" on success.
func call(t *testing.T, s *ecitest.Server, action string, params map[string]string) (answer map[string]any, code string) {
	t.Helper()
	return callAs(t, s, "local", "local-secret", action, params)
}

// actionTest is one row of an action's table: what is laid over the action's base
// parameters ("" takes one away), and the outcome: "200" or status and code.
type actionTest struct {
	name   string
	change map[string]string
	want   string
}

// runTable makes the calls of an action's table in their order.
func runTable(t *testing.T, s *ecitest.Server, action string, base map[string]string, tests []actionTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := maps.Clone(base)
			maps.Copy(p, tt.change)
			answer, got := outcome(t, s, action, p)
			if id, ok := answer["ContainerGroupId"].(string); ok {
				t.Cleanup(func() { remove(t, s, id) })
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// outcome is a call's answer with its status and error code, such as
// "400 InvalidParameter".
func outcome(t *testing.T, s *ecitest.Server, action string, params map[string]string) (map[string]any, string) {
	t.Helper()
	answer, code := call(t, s, action, params)
	calls := s.Calls()
	last := calls[len(calls)-1]
	if last.Action != action || last.Code != code {
		t.Fatalf("the last call is %s with %q, not %s with %q", last.Action, last.Code, action, code)
	}
	return answer, strings.TrimSpace(fmt.Sprint(last.HTTPStatus, " ", code))
}

// numbered are n parameters: numbered("Tag.%d.Key", 2, "k%d") has Tag.1.Key = k1 and
// Tag.2.Key = k2.
func numbered(n int, pairs ...string) map[string]string {
	p := map[string]string{}
	for i := 1; i <= n; i++ {
		for k := 0; k < len(pairs); k += 2 {
			value := pairs[k+1]
			if strings.Contains(value, "%d") {
				value = fmt.Sprintf(value, i)
			}
			p[fmt.Sprintf(pairs[k], i)] = value
		}
	}
	return p
}

// with is a followed by b.
func with(a, b map[string]string) map[string]string {
	p := maps.Clone(a)
	maps.Copy(p, b)
	return p
}

// remove deletes a group whatever the test has done to the server, which may be closed.
func remove(t *testing.T, s *ecitest.Server, id string) {
	t.Helper()
	s.SetFaults(ecitest.Faults{})
	for {
		_, code := call(t, s, "DeleteContainerGroup", map[string]string{"ContainerGroupId": id})
		switch {
		case code == "", code == "transport", strings.HasSuffix(code, "NotFound"):
			return
		case code != "OperationConflict":
			t.Errorf("delete %s: %s", id, code)
			return
		}
	}
}

func callAs(t *testing.T, s *ecitest.Server, key, secret, action string, params map[string]string) (map[string]any, string) {
	t.Helper()
	response, err := send(t, s, key, secret, action, params)
	if err != nil {
		if e, ok := errors.AsType[*sdkerrors.ServerError](err); ok {
			return nil, e.ErrorCode()
		}
		return nil, "transport"
	}
	var answer map[string]any
	if err := json.Unmarshal(response.GetHttpContentBytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer, ""
}

// callHeader is the header of a call's answer.
func callHeader(t *testing.T, s *ecitest.Server, action string) http.Header {
	t.Helper()
	response, err := send(t, s, "local", "local-secret", action, nil)
	if e, ok := errors.AsType[*sdkerrors.ServerError](err); ok {
		return e.RespHeaders
	}
	if err != nil {
		t.Fatal(err)
	}
	return response.GetHttpHeaders()
}

func send(t *testing.T, s *ecitest.Server, key, secret, action string, params map[string]string) (*responses.CommonResponse, error) {
	t.Helper()
	return sendTo(t, s.URL(), key, secret, action, params)
}

// sendTo makes a call to a server that may be another process.
func sendTo(t testing.TB, url, key, secret, action string, params map[string]string) (*responses.CommonResponse, error) {
	t.Helper()
	region, ok := params["RegionId"]
	if !ok {
		region = "ap-northeast-1"
	}
	client, err := sdk.NewClientWithOptions(region, sdk.NewConfig(), credentials.NewAccessKeyCredential(key, secret))
	if err != nil {
		t.Fatal(err)
	}
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain = "POST", "HTTP", strings.TrimPrefix(url, "http://")
	r.Version, r.ApiName, r.Product = "2018-08-08", action, "Eci"
	r.Headers["Connection"] = "close" // each call has a client of its own, whose connection would stay open
	for name, value := range params {
		if name != "RegionId" { // the client sends its own
			r.FormParams[name] = value
		}
	}
	return client.ProcessCommonRequest(r)
}

// script is a group of one container "build" that runs a sh script under Never.
func script(text string, more ...string) map[string]string {
	p := map[string]string{
		"ContainerGroupName": "ci-test", "RestartPolicy": "Never", "Container.1.Name": "build", "Container.1.Image": "host",
		"Container.1.Command.1": "/bin/sh", "Container.1.Command.2": "-c", "Container.1.Command.3": text,
		"TerminationGracePeriodSeconds": "1",
	}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return p
}

func create(t *testing.T, s *ecitest.Server, params map[string]string) string {
	t.Helper()
	answer, code := call(t, s, "CreateContainerGroup", params)
	if code != "" {
		t.Fatalf("create: %s", code)
	}
	id := answer["ContainerGroupId"].(string)
	t.Cleanup(func() { remove(t, s, id) })
	return id
}

// describe is the group's entry of DescribeContainerGroups, nil when absent.
func describe(t *testing.T, s *ecitest.Server, id string) map[string]any {
	t.Helper()
	ids, _ := json.Marshal([]string{id})
	answer, code := call(t, s, "DescribeContainerGroups", map[string]string{"ContainerGroupIds": string(ids), "WithEvent": "true"})
	if code != "" {
		t.Fatalf("describe: %s", code)
	}
	groups := answer["ContainerGroups"].([]any)
	if len(groups) == 0 {
		return nil
	}
	return groups[0].(map[string]any)
}

// await polls until ok, as a client does.
func await(t *testing.T, s *ecitest.Server, id string, ok func(group map[string]any) bool) map[string]any {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		g := describe(t, s, id)
		if ok(g) {
			return g
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group did not get there in %s: %v", patience, g)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func status(want string) func(map[string]any) bool {
	return func(g map[string]any) bool { return g != nil && g["Status"] == want }
}

// state is CurrentState of the i-th container.
func state(g map[string]any, i int) map[string]any {
	return g["Containers"].([]any)[i].(map[string]any)["CurrentState"].(map[string]any)
}
