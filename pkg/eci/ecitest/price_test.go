package ecitest_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestDescribeContainerGroupPrice(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{None: []ecitest.Offer{{Zone: "ap-northeast-1a", Spot: true}}, NotOnSale: []string{"ap-northeast-1b"}}})
	base := pairs("Cpu", "2", "Memory", "4")
	runTable(t, s, "DescribeContainerGroupPrice", base, []actionTest{
		{"the base", nil, "200"},
		{"no memory", pairs("Memory", ""), "400 MissingParameter"},
		{"no vCPU", pairs("Cpu", ""), "400 MissingParameter"},
		{"type alone", pairs("Cpu", "", "Memory", "", "InstanceType", "ecs.c6.large"), "200"},
		{"unknown type", pairs("InstanceType", "ecs.zz1.large"), "400 InvalidParam.CpuOrMemorySpec"},
		{"a size that is not sold", pairs("Cpu", "3"), "400 InvalidParam.CpuOrMemorySpec"},
		{"strategy", pairs("SpotStrategy", "Cheap"), "400 InvalidParameter"},
		{"price limit missing", pairs("SpotStrategy", "SpotWithPriceLimit"), "400 MissingParameter"},
		{"price limit too low", pairs("SpotStrategy", "SpotWithPriceLimit", "SpotPriceLimit", "0.001"), "403 Spot.NotMatched"},
		{"spot below 2 vCPU", pairs("SpotStrategy", "SpotAsPriceGo", "Cpu", "1"), "400 InvalidSpotCpuMemorySpec"},
		{"spot in a zone without", pairs("SpotStrategy", "SpotAsPriceGo", "ZoneId", "ap-northeast-1a"), "403 Spot.NotMatched"},
		{"category", pairs("ComputeCategory", "cheap"), "400 InvalidParameter"},
		{"scratch", pairs("EphemeralStorage", "5001"), "400 InvalidParameter"},
	})
	// The documentation's example: 2 vCPU and 4 GiB are about 0.44 CNY an hour.
	for _, tt := range []struct {
		name   string
		change map[string]string
		second float64
		parts  int
	}{
		{"2 vCPU 4 GiB", nil, 0.00012252, 2},
		{"economy", pairs("ComputeCategory", "economy"), 2*0.000027 + 4*0.00000613, 2},
		{"scratch", pairs("EphemeralStorage", "100"), 0.00012252 + 100*0.00000059, 3},
		{"type", pairs("InstanceType", "ecs.g6.xlarge"), 4*0.000049 + 16*0.00000613, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, code := call(t, s, "DescribeContainerGroupPrice", with(base, tt.change))
			if code != "" {
				t.Fatal(code)
			}
			price := answer["PriceInfo"].(map[string]any)["Price"].(map[string]any)
			parts := price["DetailInfos"].(map[string]any)["DetailInfo"].([]any)
			if got := price["TradePrice"].(float64); math.Abs(got-tt.second) > 1e-9 || price["Currency"] != "CNY" || len(parts) != tt.parts {
				t.Errorf("%v, want %g in %d parts", price, tt.second, tt.parts)
			}
		})
	}
	answer, _ := call(t, s, "DescribeContainerGroupPrice", with(base, pairs("SpotStrategy", "SpotAsPriceGo")))
	spot := answer["PriceInfo"].(map[string]any)["SpotPrices"].(map[string]any)["SpotPrice"].([]any)
	if len(spot) != 1 || spot[0].(map[string]any)["ZoneId"] != "ap-northeast-1c" || spot[0].(map[string]any)["InstanceType"] != "ecs.c6.large" {
		t.Errorf("%v", spot)
	}
}

func TestDescribeRegions(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{None: []ecitest.Offer{{Zone: "cn-hangzhou-b"}}, NotOnSale: []string{"cn-hangzhou-c"}}})
	answer, code := call(t, s, "DescribeRegions", pairs("RegionId", ""))
	if n := len(answer["Regions"].([]any)); code != "" || n < 30 {
		t.Errorf("%d regions, %s", n, code)
	}
	answer, _ = call(t, s, "DescribeRegions", pairs("RegionId", "cn-hangzhou"))
	region := answer["Regions"].([]any)[0].(map[string]any)
	got := fmt.Sprint(region["RegionEndpoint"], region["Zones"], region["RecommendZones"], region["UnavailableZones"])
	if got != "eci.cn-hangzhou.aliyuncs.com[cn-hangzhou-a cn-hangzhou-b cn-hangzhou-c] [cn-hangzhou-a] [cn-hangzhou-c]" {
		t.Error(got)
	}
}

func TestDescribeAvailableResource(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{
		NotOnSale: []string{"ap-northeast-1c"},
		None:      []ecitest.Offer{{Zone: "ap-northeast-1b", InstanceType: "ecs.c6.large"}, {InstanceType: "ecs.g6.large", Spot: true}},
	}})
	family := pairs("DestinationResource.Category", "InstanceTypeFamily", "DestinationResource.Value", "ecs.c6")
	kind := pairs("DestinationResource.Category", "InstanceType", "DestinationResource.Value", "ecs.c6.large")
	shape := pairs("DestinationResource.Category", "InstanceType", "DestinationResource.Cores", "2", "DestinationResource.Memory", "4")
	runTable(t, s, "DescribeAvailableResource", map[string]string{}, []actionTest{
		{"no category", nil, "400 MissingParameter"},
		{"unknown category", pairs("DestinationResource.Category", "Disk"), "400 InvalidParameter"},
		{"family", family, "200"},
		{"no family", with(family, pairs("DestinationResource.Value", "")), "400 MissingParameter"},
		{"spot of a family", with(family, pairs("SpotResource.SpotStrategy", "SpotAsPriceGo")), "400 InvalidParameter"},
		{"type", kind, "200"},
		{"unknown type", with(kind, pairs("DestinationResource.Value", "ecs.zz1.large")), "404 InvalidParameter.NotFound"},
		{"vCPU and memory", shape, "200"},
		{"vCPU alone", with(shape, pairs("DestinationResource.Memory", "")), "400 MissingParameter"},
		{"no type of the shape", with(shape, pairs("DestinationResource.Memory", "5")), "404 InvalidParameter.NotFound"},
		{"spot of a type", with(kind, pairs("SpotResource.SpotStrategy", "SpotAsPriceGo")), "200"},
		{"no spot of a type", with(kind, pairs("SpotResource.SpotStrategy", "SpotAsPriceGo", "DestinationResource.Value", "ecs.g6.large")), "403 Spot.NotMatched"},
		{"spot without its limit", with(kind, pairs("SpotResource.SpotStrategy", "SpotWithPriceLimit")), "400 MissingParameter"},
		{"unknown zone", with(kind, pairs("ZoneId", "ap-northeast-1z")), "404 InvalidParameter.NotFound"},
	})
	for name, tt := range map[string]struct {
		params map[string]string
		want   string
	}{
		"all zones":  {kind, "ap-northeast-1a WithStock, ap-northeast-1b WithoutStock, ap-northeast-1c ClosedWithoutStock, "},
		"one zone":   {with(kind, pairs("ZoneId", "ap-northeast-1b")), "ap-northeast-1b WithoutStock, "},
		"by a shape": {with(shape, pairs("ZoneId", "ap-northeast-1b")), "ap-northeast-1b WithoutStock, "},
		"a family":   {with(family, pairs("ZoneId", "ap-northeast-1b")), "ap-northeast-1b WithStock, "},
	} {
		t.Run(name, func(t *testing.T) {
			answer, code := call(t, s, "DescribeAvailableResource", tt.params)
			if code != "" {
				t.Fatal(code)
			}
			got := ""
			for _, z := range answer["AvailableZones"].(map[string]any)["AvailableZone"].([]any) {
				zone := z.(map[string]any)
				resource := zone["AvailableResources"].(map[string]any)["AvailableResource"].([]any)[0].(map[string]any)
				supported := resource["SupportedResources"].(map[string]any)["SupportedResource"].([]any)[0].(map[string]any)
				got += fmt.Sprint(zone["ZoneId"], " ", supported["StatusCategory"], ", ")
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestListUsage(t *testing.T) {
	s := start(t, ecitest.Options{Stock: ecitest.Stock{MaxCPU: 100, MaxImageCaches: 5}})
	cacheOf(t, s, "Ready")
	id := create(t, s, script("exec sleep 60", "Cpu", "0.5", "Memory", "1"))
	await(t, s, id, status("Running"))
	show := func() string {
		answer, code := call(t, s, "ListUsage", nil)
		if code != "" {
			t.Fatal(code)
		}
		a := answer["Attributes"].(map[string]any)
		return fmt.Sprint(a["UsedCpu"], "/", a["MaxCpu"], " ", a["UsedImageCacheCount"], "/", a["MaxImageCacheCount"], " ",
			a["UsedAutoImageCacheCount"], "/", a["MaxAutoImageCacheCount"])
	}
	if got := show(); got != "0.5/100 1/5 0/25" {
		t.Error(got)
	}
	remove(t, s, id)
	await(t, s, id, func(g map[string]any) bool { return g == nil })
	if got := show(); got != "0/100 1/5 0/25" {
		t.Error(got)
	}
}
