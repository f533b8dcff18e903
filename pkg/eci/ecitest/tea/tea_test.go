// Package tea tests the local ECI with the newer generation of SDK,
// alibabacloud-go/eci-20180808, which signs with ACS3-HMAC-SHA256 and types every
// answer. The driver uses the older one.
package tea

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	eci "github.com/alibabacloud-go/eci-20180808/v3/client"
	"github.com/alibabacloud-go/tea/tea"

	"github.com/eci-executor/eci-executor/internal/sandbox"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

var region = tea.String("ap-northeast-1")

func TestMain(m *testing.M) {
	if done, code, err := sandbox.EnterUserNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, err) // tests that need containers say so
	} else if done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func start(t *testing.T) *ecitest.Server {
	t.Helper()
	if err := sandbox.Supported(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	image, err := ecitest.HostImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ecitest.Start(ecitest.Options{Dir: t.TempDir(), Images: map[string]ecitest.Image{"host": image}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ecitest.LeakCheck(t, s, time.Minute)
	return s
}

func client(t *testing.T, s *ecitest.Server, key, secret string) *eci.Client {
	t.Helper()
	c, err := eci.NewClient(&openapi.Config{
		AccessKeyId: &key, AccessKeySecret: &secret, RegionId: region,
		Endpoint: tea.String(strings.TrimPrefix(s.URL(), "http://")), Protocol: tea.String("HTTP"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeys(t *testing.T) {
	s := start(t)
	for _, tt := range []struct{ name, key, secret, code string }{
		{"right", "local", "local-secret", ""},
		{"wrong secret", "local", "other", "SignatureDoesNotMatch"},
		{"unknown key", "other", "local-secret", "InvalidAccessKeyId.NotFound"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A value that is encoded unlike in a form.
			_, err := client(t, s, tt.key, tt.secret).DescribeContainerGroups(&eci.DescribeContainerGroupsRequest{
				RegionId: region, ContainerGroupIds: tea.String(`["eci-1 *~/+"]`),
			})
			if code(err) != tt.code {
				t.Errorf("%v, want %q", err, tt.code)
			}
		})
	}
}

// code is the error code of a refusal, "" without an error.
func code(err error) string {
	var e *tea.SDKError
	if errors.As(err, &e) {
		return tea.StringValue(e.Code)
	}
	if err != nil {
		return "transport: " + err.Error()
	}
	return ""
}

// A job's life through the typed API, with each of the actions that a driver needs.
func TestLife(t *testing.T) {
	s := start(t)
	c := client(t, s, "local", "local-secret")
	request := &eci.CreateContainerGroupRequest{
		RegionId: region, ContainerGroupName: tea.String("typed"), RestartPolicy: tea.String("Never"), Cpu: tea.Float32(2), Memory: tea.Float32(4),
		TerminationGracePeriodSeconds: tea.Int64(1), ClientToken: tea.String("t1"),
		Tag: []*eci.CreateContainerGroupRequestTag{{Key: tea.String("managed-by"), Value: tea.String("test")}},
		Container: []*eci.CreateContainerGroupRequestContainer{{
			Name: tea.String("build"), Image: tea.String("host"), Command: tea.StringSlice([]string{"/bin/sh", "-c", "echo hello; exec sleep 60"}),
			VolumeMount: []*eci.CreateContainerGroupRequestContainerVolumeMount{{Name: tea.String("work"), MountPath: tea.String("/work")}},
		}},
		Volume: []*eci.CreateContainerGroupRequestVolume{{Name: tea.String("work"), Type: tea.String("EmptyDirVolume"),
			EmptyDirVolume: &eci.CreateContainerGroupRequestVolumeEmptyDirVolume{Medium: tea.String("Memory"), SizeLimit: tea.String("16Mi")}}},
	}
	dry := *request
	dry.DryRun = tea.Bool(true)
	if _, err := c.CreateContainerGroup(&dry); code(err) != "DryRunOperation" {
		t.Errorf("dry run: %v", err)
	}
	made, err := c.CreateContainerGroup(request)
	if err != nil {
		t.Fatal(err)
	}
	id := tea.StringValue(made.Body.ContainerGroupId)
	if again, err := c.CreateContainerGroup(request); err != nil || tea.StringValue(again.Body.ContainerGroupId) != id {
		t.Errorf("again: %v, %v", again, err)
	}
	group := await(t, c, id, "Running")
	if tea.Float32Value(group.Cpu) != 2 || tea.StringValue(group.Containers[0].CurrentState.State) != "Running" ||
		tea.StringValue(group.Tags[0].Value) != "test" || tea.StringValue(group.Volumes[0].EmptyDirVolumeSizeLimit) != "16Mi" || len(group.Events) == 0 {
		t.Errorf("%v", group)
	}
	ids, _ := json.Marshal([]string{id})
	status, err := c.DescribeContainerGroupStatus(&eci.DescribeContainerGroupStatusRequest{RegionId: region, ContainerGroupIds: tea.String(string(ids))})
	if err != nil || tea.StringValue(status.Body.Data[0].PodStatus.Phase) != "Running" || !tea.BoolValue(status.Body.Data[0].PodStatus.ContainerStatuses[0].Ready) {
		t.Errorf("%v, %v", status, err)
	}
	events, err := c.DescribeContainerGroupEvents(&eci.DescribeContainerGroupEventsRequest{RegionId: region, ContainerGroupIds: tea.String(string(ids))})
	if err != nil || len(events.Body.Data[0].Events) == 0 || tea.StringValue(events.Body.Data[0].Events[0].InvolvedObject.Uid) != id {
		t.Errorf("%v, %v", events, err)
	}
	out, err := c.ExecContainerCommand(&eci.ExecContainerCommandRequest{
		RegionId: region, ContainerGroupId: &id, ContainerName: tea.String("build"), Command: tea.String(`["echo","in"]`), Sync: tea.Bool(true),
	})
	if err != nil || tea.StringValue(out.Body.SyncResponse) != "in\n" {
		t.Errorf("%v, %v", out, err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // Running says that PID 1 runs, not what it has printed
		log, err := c.DescribeContainerLog(&eci.DescribeContainerLogRequest{RegionId: region, ContainerGroupId: &id, ContainerName: tea.String("build"), Tail: tea.Int32(10)})
		if err == nil && tea.StringValue(log.Body.Content) == "hello\n" {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Errorf("%v, %v", log, err)
			break
		}
	}
	if _, err := c.DeleteContainerGroup(&eci.DeleteContainerGroupRequest{RegionId: region, ContainerGroupId: &id, Force: tea.Bool(true)}); err != nil {
		t.Error(err)
	}
}

// await polls until the group has a status.
func await(t *testing.T, c *eci.Client, id, want string) *eci.DescribeContainerGroupsResponseBodyContainerGroups {
	t.Helper()
	ids, _ := json.Marshal([]string{id})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		answer, err := c.DescribeContainerGroups(&eci.DescribeContainerGroupsRequest{RegionId: region, ContainerGroupIds: tea.String(string(ids)), WithEvent: tea.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Body.ContainerGroups) == 1 && tea.StringValue(answer.Body.ContainerGroups[0].Status) == want {
			return answer.Body.ContainerGroups[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s in 30 s: %v", want, answer.Body)
		}
	}
}

func TestImageCaches(t *testing.T) {
	s := start(t)
	c := client(t, s, "local", "local-secret")
	made, err := c.CreateImageCache(&eci.CreateImageCacheRequest{RegionId: region, ImageCacheName: tea.String("typed"), Image: tea.StringSlice([]string{"host"})})
	if err != nil {
		t.Fatal(err)
	}
	for ready := false; !ready; {
		list, err := c.DescribeImageCaches(&eci.DescribeImageCachesRequest{RegionId: region, ImageCacheId: made.Body.ImageCacheId, Limit: tea.Int32(20)})
		if err != nil || len(list.Body.ImageCaches) != 1 || tea.StringValue(list.Body.ImageCaches[0].Status) == "Failed" {
			t.Fatal(list, err)
		}
		ready = tea.StringValue(list.Body.ImageCaches[0].Status) == "Ready"
	}
	if _, err := c.UpdateImageCache(&eci.UpdateImageCacheRequest{RegionId: region, ImageCacheId: made.Body.ImageCacheId, RetentionDays: tea.Int32(7)}); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteImageCache(&eci.DeleteImageCacheRequest{RegionId: region, ImageCacheId: made.Body.ImageCacheId}); err != nil {
		t.Error(err)
	}
}

func TestLookups(t *testing.T) {
	s := start(t)
	c := client(t, s, "local", "local-secret")
	regions, err := c.DescribeRegions(&eci.DescribeRegionsRequest{})
	if err != nil || len(regions.Body.Regions) < 30 {
		t.Errorf("%v, %v", regions, err)
	}
	price, err := c.DescribeContainerGroupPrice(&eci.DescribeContainerGroupPriceRequest{RegionId: region, Cpu: tea.Float32(2), Memory: tea.Float32(4)})
	if err != nil || len(price.Body.PriceInfo.Price.DetailInfos.DetailInfo) != 2 {
		t.Errorf("%v, %v", price, err)
	}
	available, err := c.DescribeAvailableResource(&eci.DescribeAvailableResourceRequest{RegionId: region,
		DestinationResource: &eci.DescribeAvailableResourceRequestDestinationResource{Category: tea.String("InstanceType"), Value: tea.String("ecs.c6.large")}})
	if err != nil || len(available.Body.AvailableZones.AvailableZone) != 3 {
		t.Errorf("%v, %v", available, err)
	}
	usage, err := c.ListUsage(&eci.ListUsageRequest{RegionId: region})
	if err != nil || fmt.Sprint(usage.Body.Attributes["MaxCpu"]) != "1000" {
		t.Errorf("%v, %v", usage, err)
	}
}
