package ecitest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func ids(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("eci-%d", i)
	}
	text, _ := json.Marshal(list)
	return string(text)
}

// What the three actions that describe groups have in common.
func TestDescribe(t *testing.T) {
	s := start(t, ecitest.Options{})
	for action, most := range map[string]int{"DescribeContainerGroups": 20, "DescribeContainerGroupStatus": 200, "DescribeContainerGroupEvents": 200} {
		t.Run(action, func(t *testing.T) {
			runTable(t, s, action, map[string]string{}, []actionTest{
				{"all", nil, "200"},
				{"20 ids", pairs("ContainerGroupIds", ids(20)), "200"},
				{"21 ids", pairs("ContainerGroupIds", ids(21)), "400 InvalidParameter.ValueExceeded"},
				{"ids not JSON", pairs("ContainerGroupIds", "eci-1,eci-2"), "400 InvalidParameter"},
				{"greatest limit", pairs("Limit", fmt.Sprint(most)), "200"},
				{"greater limit", pairs("Limit", fmt.Sprint(most+1)), "400 InvalidParameter"},
				{"limit 0", pairs("Limit", "0"), "400 InvalidParameter"},
				{"made-up token", pairs("NextToken", "2"), "400 InvalidParameter"},
				{"made-up token of a number below 0", pairs("NextToken", "YWZ0ZXIvLTE"), "400 InvalidParameter"},
				{"tag without a key", pairs("Tag.1.Value", "x"), "400 MissingParameter"},
				{"21 tags", numbered(21, "Tag.%d.Key", "k%d"), "400 InvalidParameter"},
			})
		})
	}
	runTable(t, s, "DescribeContainerGroups", map[string]string{}, []actionTest{
		{"with events", pairs("WithEvent", "true"), "200"},
		{"wrong boolean", pairs("WithEvent", "1"), "400 InvalidParameter"},
		{"compute category", pairs("ComputeCategory", "cheap"), "400 InvalidParameter"},
		{"a parameter of Status", pairs("SinceSecond", "1"), "400 InvalidParameter"},
	})
	runTable(t, s, "DescribeContainerGroupStatus", map[string]string{}, []actionTest{
		{"since", pairs("SinceSecond", "60"), "200"},
		{"since a fraction", pairs("SinceSecond", "0.5"), "400 InvalidParameter"},
		{"a parameter of Groups", pairs("ContainerGroupName", "x"), "400 InvalidParameter"},
	})
	runTable(t, s, "DescribeContainerGroupEvents", map[string]string{}, []actionTest{
		{"source", pairs("EventSource", "K8sAgent"), "200"},
		{"unknown source", pairs("EventSource", "Kubelet"), "400 InvalidParameter"},
	})
}

func names(groups any, key string) []string {
	list := []string{}
	for _, g := range groups.([]any) {
		list = append(list, g.(map[string]any)[key].(string))
	}
	return list
}

func TestPaging(t *testing.T) {
	s := start(t, ecitest.Options{})
	for i := range 5 {
		create(t, s, script("exec sleep 60", "ContainerGroupName", fmt.Sprintf("g-%d", i), "Tag.1.Key", "odd", "Tag.1.Value", fmt.Sprint(i%2)))
	}
	for action, key := range map[string]string{"DescribeContainerGroups": "ContainerGroups", "DescribeContainerGroupStatus": "Data"} {
		t.Run(action, func(t *testing.T) {
			name := map[string]string{"ContainerGroups": "ContainerGroupName", "Data": "Name"}[key]
			var all []string
			next, pages := "", 0
			for {
				answer, code := call(t, s, action, pairs("Tag.1.Key", "odd", "Tag.1.Value", "0", "Limit", "2", "NextToken", next))
				if code != "" || answer["TotalCount"] != 3.0 {
					t.Fatal(code, answer)
				}
				all = append(all, names(answer[key], name)...)
				pages++
				if next = answer["NextToken"].(string); next == "" {
					break
				}
			}
			if fmt.Sprint(all) != "[g-0 g-2 g-4]" || pages != 2 {
				t.Errorf("names %v on %d pages", all, pages)
			}
		})
	}
}

func TestFilters(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{VSwitches: map[string]ecitest.VSwitch{
		"vsw-1": {Zone: "z-1", VPC: "v"}, "vsw-2": {Zone: "z-2", VPC: "v"},
	}}})
	p := func(name string, more ...string) map[string]string {
		return script("exec sleep 60", append([]string{"ContainerGroupName", name}, more...)...)
	}
	first := create(t, s, p("first", "VSwitchId", "vsw-1", "SecurityGroupId", "sg-1", "Tag.1.Key", "a", "Tag.1.Value", "1", "ResourceGroupId", "rg-1"))
	create(t, s, p("second", "VSwitchId", "vsw-2", "SecurityGroupId", "sg-2", "Tag.1.Key", "a", "Tag.1.Value", "2", "ComputeCategory.1", "economy"))
	answer, code := call(t, s, "CreateContainerGroup", with(p("away", "VSwitchId", "vsw-1"), pairs("RegionId", "cn-hangzhou")))
	if code != "" {
		t.Fatal(code)
	}
	t.Cleanup(func() {
		call(t, s, "DeleteContainerGroup", pairs("RegionId", "cn-hangzhou", "ContainerGroupId", answer["ContainerGroupId"].(string)))
	})
	for _, tt := range []struct {
		name   string
		filter map[string]string
		want   string
	}{
		{"none", nil, "[first second]"},
		{"region", pairs("RegionId", "cn-hangzhou"), "[away]"},
		{"id", pairs("ContainerGroupIds", `["`+first+`","eci-none"]`), "[first]"},
		{"no id", pairs("ContainerGroupIds", `[]`), "[]"},
		{"an id of another region", pairs("RegionId", "cn-hangzhou", "ContainerGroupIds", `["`+first+`"]`), "[]"},
		{"name", pairs("ContainerGroupName", "second"), "[second]"},
		{"zone", pairs("ZoneId", "z-2"), "[second]"},
		{"vSwitch", pairs("VSwitchId", "vsw-1"), "[first]"},
		{"security group", pairs("SecurityGroupId", "sg-2"), "[second]"},
		{"resource group", pairs("ResourceGroupId", "rg-1"), "[first]"},
		{"compute category", pairs("ComputeCategory", "economy"), "[second]"},
		{"tag", pairs("Tag.1.Key", "a", "Tag.1.Value", "2"), "[second]"},
		{"tag of any value", pairs("Tag.1.Key", "a"), "[first second]"},
		{"status", pairs("Status", "Expired"), "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, code := call(t, s, "DescribeContainerGroups", tt.filter)
			if got := fmt.Sprint(names(answer["ContainerGroups"], "ContainerGroupName")); code != "" || got != tt.want {
				t.Errorf("%s %s, want %s", code, got, tt.want)
			}
		})
	}
}

// What was asked for is shown again, secrets too unless they are to be hidden.
func TestDescribeShows(t *testing.T) {
	s := start(t, ecitest.Options{})
	p := script("echo why >/dev/termination-log; exit 3",
		"SecurityGroupId", "sg-1", "SpotStrategy", "SpotWithPriceLimit", "SpotPriceLimit", "0.5", "EphemeralStorage", "10", "RamRoleName", "role",
		"AutoCreateEip", "true", "Tag.1.Key", "a", "HostAliase.1.Ip", "127.0.0.1", "HostAliase.1.Hostname.1", "db",
		"SecurityContext.Sysctl.1.Name", "net.core.somaxconn", "SecurityContext.Sysctl.1.Value", "1024", "DnsConfig.Search.1", "example.com",
		"Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.Value", "shown", "Container.1.Port.1.Port", "80",
		"Container.1.SecurityContext.RunAsUser", "0", "Container.2.Name", "hide", "Container.2.Image", "host", "Container.2.Command.1", "true",
		"Container.2.EnvironmentVarHide", "true", "Container.2.EnvironmentVar.1.Key", "B", "Container.2.EnvironmentVar.1.Value", "hidden")
	id := create(t, s, p)
	g := await(t, s, id, status("Failed"))
	delete(g, "Events")
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"ContainerGroupName":"ci-test"`, `"RegionId":"ap-northeast-1"`, `"VpcId":"vpc-default"`, `"SecurityGroupId":"sg-1"`, `"Cpu":2`, `"Memory":4`,
		`"SpotStrategy":"SpotWithPriceLimit"`, `"SpotPriceLimit":0.5`, `"EphemeralStorage":10`, `"RamRoleName":"role"`, `"InternetIp":"203.0.113.1"`,
		`"IntranetIp":"127.0.0.1"`, `"FailedTime":"2`, `"Sysctls":[{"Name":"net.core.somaxconn","Value":"1024"}]`, `"Searches":["example.com"]`,
		`"Hostnames":["db"]`, `{"Key":"A","Value":"shown"}`, `{"Key":"B","Value":""}`, `"RunAsUser":0`, `{"Port":80,"Protocol":"TCP"}`,
		`"ExitCode":3`, `"Message":"why\n"`, `"RestartPolicy":"Never"`, `"EniInstanceId":"eni-`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "hidden") || strings.Contains(string(text), "SucceededTime") {
		t.Errorf("shown: %s", text)
	}
	answer, _ := call(t, s, "DescribeContainerGroupStatus", pairs("ContainerGroupIds", `["`+id+`"]`))
	text, _ = json.Marshal(answer)
	for _, want := range []string{`"Phase":"Failed"`, `"Namespace":"default"`, `"ExitCode":3`, `"uuid":"` + id, `"type":"Ready"`, `"PodIps":[{"Ip":"127.0.0.1"}]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

// 12 KB of termination messages are shared equally.
func TestTerminationMessagesOfAGroup(t *testing.T) {
	s := start(t, ecitest.Options{})
	p := script("head -c 4096 /dev/zero | tr '\\0' x >/dev/termination-log")
	for i := 2; i <= 6; i++ {
		for _, key := range []string{"Image", "Command.1", "Command.2", "Command.3"} {
			p[fmt.Sprintf("Container.%d.%s", i, key)] = p["Container.1."+key]
		}
		p[fmt.Sprintf("Container.%d.Name", i)] = fmt.Sprintf("c%d", i)
	}
	g := await(t, s, create(t, s, p), status("Succeeded"))
	for i := range 6 {
		if n := len(state(g, i)["Message"].(string)); n != 2048 {
			t.Errorf("container %d: %d bytes, want 2048", i, n)
		}
	}
}

func TestEvents(t *testing.T) {
	for _, lower := range []bool{false, true} {
		t.Run(fmt.Sprintf("lower camel %v", lower), func(t *testing.T) {
			s := start(t, ecitest.Options{Switches: ecitest.Switches{EventKeysLowerCamel: lower}})
			id := create(t, s, script("exit 0", "InstanceType", "2-4Gi"))
			await(t, s, id, status("Succeeded"))
			key := map[bool]string{false: "Reason", true: "reason"}[lower]
			for source, want := range map[string]string{
				"":           "UserInstanceTypeSpec Scheduled Pulling Pulled Created Started",
				"EciService": "UserInstanceTypeSpec",
				"K8sAgent":   "Scheduled Pulling Pulled Created Started",
			} {
				answer, code := call(t, s, "DescribeContainerGroupEvents", pairs("ContainerGroupIds", `["`+id+`"]`, "EventSource", source))
				if code != "" || answer["TotalCount"] != 1.0 || answer["NextToken"] != nil {
					t.Fatal(code, answer)
				}
				got := names(answer["Data"].([]any)[0].(map[string]any)["Events"], key)
				if strings.Join(got, " ") != want {
					t.Errorf("%q: %v, want %s", source, got, want)
				}
			}
			answer, _ := call(t, s, "DescribeContainerGroupEvents", pairs("ContainerGroupIds", `["`+id+`"]`))
			text, _ := json.Marshal(answer)
			if !strings.Contains(string(text), `"involvedObject"`) || strings.Contains(string(text), `"Count"`) == lower {
				t.Errorf("keys of %s", text)
			}
		})
	}
}
