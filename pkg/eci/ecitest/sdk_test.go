package ecitest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/eci"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// The typed requests of services/eci send everything in the URL.
func TestTypedV1(t *testing.T) {
	s := start(t, ecitest.Options{Switches: ecitest.Switches{PriceListsFlat: true}})
	client, err := eci.NewClientWithOptions("ap-northeast-1", sdk.NewConfig(), credentials.NewAccessKeyCredential("local", "local-secret"))
	if err != nil {
		t.Fatal(err)
	}
	client.Domain = strings.TrimPrefix(s.URL(), "http://")
	id := running(t, s)

	describe := eci.CreateDescribeContainerGroupsRequest()
	describe.ContainerGroupIds = `["` + id + `"]`
	groups, err := client.DescribeContainerGroups(describe)
	if err != nil || len(groups.ContainerGroups) != 1 || groups.ContainerGroups[0].Cpu != 2 || groups.ContainerGroups[0].Containers[0].CurrentState.State != "Running" {
		t.Errorf("%+v, %v", groups, err)
	}
	run := eci.CreateExecContainerCommandRequest()
	run.ContainerGroupId, run.ContainerName, run.Command, run.TTY = id, "build", `["true"]`, requests.NewBoolean(false)
	if answer, err := client.ExecContainerCommand(run); err != nil || !strings.HasPrefix(answer.WebSocketUri, "ws://") {
		t.Errorf("%+v, %v", answer, err)
	}
	log := eci.CreateDescribeContainerLogRequest()
	log.ContainerGroupId, log.ContainerName, log.Tail = id, "build", requests.NewInteger(10)
	if answer, err := client.DescribeContainerLog(log); err != nil || answer.ContainerName != "build" {
		t.Errorf("%+v, %v", answer, err)
	}
	cache := eci.CreateCreateImageCacheRequest()
	cache.ImageCacheName, cache.Image = "typed", []string{"host"}
	if answer, err := client.CreateImageCache(cache); err != nil || !strings.HasPrefix(answer.ImageCacheId, "imc-") {
		t.Errorf("%+v, %v", answer, err)
	}
	price := eci.CreateDescribeContainerGroupPriceRequest()
	price.Cpu, price.Memory = requests.NewFloat(2), requests.NewFloat(4)
	if answer, err := client.DescribeContainerGroupPrice(price); err != nil || answer.PriceInfo.Price.Currency != "CNY" || len(answer.PriceInfo.Price.DetailInfos) != 2 {
		t.Errorf("%+v, %v", answer, err)
	}
	if answer, err := client.DescribeRegions(eci.CreateDescribeRegionsRequest()); err != nil || len(answer.Regions) == 0 {
		t.Errorf("%+v, %v", answer, err)
	}
	del := eci.CreateDeleteContainerGroupRequest()
	del.ContainerGroupId = id
	if _, err := client.DeleteContainerGroup(del); err != nil {
		t.Error(err)
	}

	// This one always sends a probe that nobody asked for (sources.md: sdk).
	create := func() *eci.CreateContainerGroupRequest {
		r := eci.CreateCreateContainerGroupRequest()
		r.ContainerGroupName = "typed"
		r.Container = &[]eci.CreateContainerGroupContainer{{Name: "build", Image: "host"}}
		return r
	}
	_, err = client.CreateContainerGroup(create())
	var refused *sdkerrors.ServerError
	if !errors.As(err, &refused) || refused.ErrorCode() != "UnsupportedOperation" || !strings.Contains(refused.Message(), "Probe") {
		t.Errorf("%v", err)
	}
	lenient := start(t, ecitest.Options{Switches: ecitest.Switches{BogusProbeIgnored: true}})
	client.Domain = strings.TrimPrefix(lenient.URL(), "http://")
	answer, err := client.CreateContainerGroup(create())
	if err != nil {
		t.Fatal(err)
	}
	remove(t, lenient, answer.ContainerGroupId)
}

// The newer SDK is tested in a module of its own, in the folder tea. Its module
// file is worked on as a copy, because it depends on what this module requires.
func TestNewerSDK(t *testing.T) {
	work := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("tea", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = "tea"
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -modfile="+filepath.Join(work, "go.mod"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("list", "-deps", "-test", "."); err != nil {
		t.Skipf("the modules of the newer SDK can't be had: %v\n%s", err, out)
	}
	out, err := run("test", "-count=1", "-timeout=5m", ".")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(out, "[no test files]") || !strings.Contains(out, "ok") {
		t.Errorf("no test ran: %s", out)
	}
}
