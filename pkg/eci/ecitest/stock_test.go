package ecitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// Where a group lands, or why it can't be had.
func TestStock(t *testing.T) {
	type stock = ecitest.Stock
	type offers = []ecitest.Offer
	two := map[string]ecitest.VSwitch{"vsw-1": {Zone: "z-1", VPC: "vpc-1"}, "vsw-2": {Zone: "z-2", VPC: "vpc-1"}}
	zones := []string{"z-1", "z-2"}
	both := pairs("VSwitchId", "vsw-1,vsw-2")
	tests := []struct {
		name   string
		stock  stock
		change map[string]string
		want   string // zone, vSwitch, type and size, or status and code
	}{
		{"everything", stock{}, nil, "ap-northeast-1a vsw-default  2-4"},
		{"by zone", stock{}, pairs("ZoneId", "ap-northeast-1c"), "ap-northeast-1c vsw-default  2-4"},
		{"a zone that is not there", stock{}, pairs("ZoneId", "ap-northeast-1z"), "403 Zone.NotOnSale"},
		{"any vSwitch", stock{}, both, "ap-northeast-1a vsw-1  2-4"},
		{"first vSwitch", stock{VSwitches: two}, both, "z-1 vsw-1  2-4"},
		{"unknown vSwitch", stock{VSwitches: two}, pairs("VSwitchId", "vsw-9"), "404 InvalidVSwitchId.NotFound"},
		{"vSwitch of the zone", stock{VSwitches: two}, with(both, pairs("ZoneId", "z-2")), "z-2 vsw-2  2-4"},
		{"a zone without a vSwitch", stock{VSwitches: two}, pairs("ZoneId", "z-3"), "403 Zone.NotOnSale"},
		{"no vSwitch of the zone", stock{Zones: zones, VSwitches: two}, pairs("VSwitchId", "vsw-1", "ZoneId", "z-2"), "403 OperationDenied.VswZoneMisMatch"},
		{"two VPCs", stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {VPC: "a"}, "vsw-2": {VPC: "b"}}}, both, "400 InvalidParameter"},
		{"security group", stock{VSwitches: two, SecurityGroups: pairs("sg-1", "vpc-1")}, with(both, pairs("SecurityGroupId", "sg-1")), "z-1 vsw-1  2-4"},
		{"another VPC's security group", stock{VSwitches: two, SecurityGroups: pairs("sg-1", "vpc-2")}, with(both, pairs("SecurityGroupId", "sg-1")), "403 OperationDenied.SecurityGroupMisMatch"},
		{"no stock in the first zone", stock{VSwitches: two, None: offers{{Zone: "z-1"}}}, both, "z-2 vsw-2  2-4"},
		{"no stock in the first vSwitch", stock{VSwitches: two, None: offers{{VSwitch: "vsw-1"}}}, both, "z-2 vsw-2  2-4"},
		{"no stock at all", stock{VSwitches: two, None: offers{{}}}, both, "403 OperationDenied.NoStock"},
		{"not on sale in the first", stock{VSwitches: two, NotOnSale: []string{"z-1"}}, both, "z-2 vsw-2  2-4"},
		{"not on sale", stock{VSwitches: two, NotOnSale: zones}, both, "403 Zone.NotOnSale"},
		{"no addresses in the first", stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: -1}, "vsw-2": {IPs: 1}}}, both, " vsw-2  2-4"},
		{"no addresses", stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: -1}}}, pairs("VSwitchId", "vsw-1"), "403 InvalidVSwitchId.IpNotEnough"},
		{"one reason here, one there", stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: -1}, "vsw-2": {Zone: "z-2"}}, NotOnSale: []string{"z-2"}}, both, "403 OperationDenied.NoStock"},
		{"second type", stock{None: offers{{InstanceType: "ecs.c6.large"}}}, pairs("InstanceType", "ecs.c6.large,4-8Gi"), "ap-northeast-1a vsw-default 4-8Gi 4-8"},
		{"a vSwitch goes before a type", stock{VSwitches: two, None: offers{{Zone: "z-1", InstanceType: "ecs.c6.large"}}}, with(both, pairs("InstanceType", "ecs.c6.large,ecs.g6.large")), "z-1 vsw-1 ecs.g6.large 2-8"},
		{"no such size", stock{None: offers{{InstanceType: "2-4Gi"}}}, nil, "403 OperationDenied.NoStock"},
		{"no spot", stock{None: offers{{Spot: true}}}, pairs("SpotStrategy", "SpotAsPriceGo"), "403 Spot.NotMatched"},
		{"no spot, without spot", stock{None: offers{{Spot: true}}}, nil, "ap-northeast-1a vsw-default  2-4"},
		{"quota", stock{MaxCPU: 2}, nil, "ap-northeast-1a vsw-default  2-4"},
		{"above the quota", stock{MaxCPU: 2}, pairs("Cpu", "4"), "403 QuotaExceeded"},
		{"dry run sees stock", stock{None: offers{{}}}, pairs("DryRun", "true"), "403 OperationDenied.NoStock"},
	}
	s := start(t, ecitest.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.SetStock(tt.stock)
			answer, got := outcome(t, s, "CreateContainerGroup", with(script("exit 0"), tt.change))
			if id, ok := answer["ContainerGroupId"].(string); ok {
				t.Cleanup(func() {
					remove(t, s, id)
					await(t, s, id, func(g map[string]any) bool { return g == nil })
				})
				g := describe(t, s, id)
				got = fmt.Sprintf("%v %v %v %v-%v", g["ZoneId"], g["VSwitchId"], g["InstanceType"], g["Cpu"], g["Memory"])
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// What live groups hold counts, what ended ones held does not.
func TestUsedUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stock ecitest.Stock
		want  string
	}{
		{"vCPU", ecitest.Stock{MaxCPU: 3}, "403 QuotaExceeded"},
		{"addresses", ecitest.Stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: 1}}}, "403 InvalidVSwitchId.IpNotEnough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Stock: tt.stock})
			p := script("exec sleep 60", "VSwitchId", "vsw-1")
			id := create(t, s, p)
			if _, got := outcome(t, s, "CreateContainerGroup", p); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			remove(t, s, id)
			await(t, s, id, func(g map[string]any) bool { return g == nil })
			create(t, s, p)
		})
	}
}

func TestScheduleFailed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stock  ecitest.Stock
		reason string
	}{
		{"no stock", ecitest.Stock{Late: true, None: []ecitest.Offer{{}}}, "NoStock"},
		{"not on sale", ecitest.Stock{Late: true, NotOnSale: []string{"ap-northeast-1a"}}, "StockClose"},
		{"quota", ecitest.Stock{Late: true, MaxCPU: 1}, "QuotaExceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, ecitest.Options{Stock: tt.stock})
			id := create(t, s, script("exit 0"))
			g := await(t, s, id, status("ScheduleFailed"))
			if reasons := eventReasons(g); !strings.Contains(reasons, tt.reason) || strings.Contains(reasons, "Scheduled") {
				t.Errorf("events %s", reasons)
			}
			if live := s.Live(); len(live) > 0 {
				t.Errorf("live %v", live)
			}
			remove(t, s, id)
			await(t, s, id, func(g map[string]any) bool { return g == nil })
		})
	}
}

// eventReasons are the reasons of a described group's events.
func eventReasons(g map[string]any) string {
	var reasons []string
	for _, e := range g["Events"].([]any) {
		reasons = append(reasons, e.(map[string]any)["Reason"].(string))
	}
	return strings.Join(reasons, " ")
}
