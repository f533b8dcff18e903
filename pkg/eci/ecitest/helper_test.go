package ecitest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"

	"github.com/eci-executor/eci-executor/internal/sandbox"
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

// start serves with an image "host"; the test ends with nothing live.
func start(t *testing.T, opts ecitest.Options) *ecitest.Server {
	t.Helper()
	if err := sandbox.Supported(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
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
	return s
}

// call sends one action through the real SDK and decodes its answer; code is
// the server's error code, "" on success.
func call(t *testing.T, s *ecitest.Server, action string, params map[string]string) (answer map[string]any, code string) {
	t.Helper()
	return callAs(t, s, "local", "local-secret", action, params)
}

func callAs(t *testing.T, s *ecitest.Server, key, secret, action string, params map[string]string) (map[string]any, string) {
	t.Helper()
	client, err := sdk.NewClientWithOptions("ap-northeast-1", sdk.NewConfig(), credentials.NewAccessKeyCredential(key, secret))
	if err != nil {
		t.Fatal(err)
	}
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain = "POST", "HTTP", strings.TrimPrefix(s.URL(), "http://")
	r.Version, r.ApiName, r.Product = "2018-08-08", action, "Eci"
	for name, value := range params {
		r.FormParams[name] = value
	}
	response, err := client.ProcessCommonRequest(r)
	if err != nil {
		var e *sdkerrors.ServerError
		if errors.As(err, &e) {
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
	return answer["ContainerGroupId"].(string)
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
	deadline := time.Now().Add(10 * time.Second)
	for {
		g := describe(t, s, id)
		if ok(g) {
			return g
		}
		if time.Now().After(deadline) {
			t.Fatalf("group did not get there in 10 s: %v", g)
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
