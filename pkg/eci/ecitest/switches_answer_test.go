package ecitest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// answerSwitchTests are those of repeated calls and of what answers look like.
func answerSwitchTests() []switchTest {
	everyCall := ecitest.Rates{Scale: 1}
	codeOf := func(action string, params ...string) func(*testing.T, *ecitest.Server) string {
		return func(t *testing.T, s *ecitest.Server) string {
			_, code := call(t, s, action, pairs(params...))
			return code
		}
	}
	return []switchTest{
		{
			thrown: ecitest.Switches{ClientTokenLifetime: time.Nanosecond}, off: "the same", on: "another",
			look: func(t *testing.T, s *ecitest.Server) string {
				p := script("exec sleep 60", "ClientToken", "t1")
				if first, second := create(t, s, p), create(t, s, p); first == second {
					return "the same"
				}
				return "another"
			},
		},
		{
			thrown: ecitest.Switches{ClientTokenFreedByRefusal: true}, own: true, off: "OperationDenied.NoStock", on: "",
			look: func(t *testing.T, s *ecitest.Server) string {
				p := script("true", "ClientToken", "t1")
				s.SetStock(ecitest.Stock{None: []ecitest.Offer{{}}})
				if _, code := call(t, s, "CreateContainerGroup", p); code != "OperationDenied.NoStock" {
					t.Errorf("without stock: %q", code)
				}
				s.SetStock(ecitest.Stock{})
				create(t, s, with(p, pairs("ClientToken", "t2"))) // a new token is good in any case
				_, code := call(t, s, "CreateContainerGroup", p)
				return code
			},
		},
		{
			thrown: ecitest.Switches{DryRunCode: "DryRun.Success"}, off: "DryRunOperation", on: "DryRun.Success",
			look: func(t *testing.T, s *ecitest.Server) string {
				_, code := call(t, s, "CreateContainerGroup", script("true", "DryRun", "true"))
				return code
			},
		},
		{
			thrown: ecitest.Switches{SpotDegrades: true}, own: true, off: "Spot.NotMatched", on: "NoSpot true Spot.NotMatched",
			look: func(t *testing.T, s *ecitest.Server) string {
				s.SetStock(ecitest.Stock{None: []ecitest.Offer{{Spot: true}}})
				p := script("exec sleep 60", "SpotStrategy", "SpotAsPriceGo")
				answer, code := call(t, s, "CreateContainerGroup", p)
				if code != "" {
					return code
				}
				id := answer["ContainerGroupId"].(string)
				t.Cleanup(func() { remove(t, s, id) })
				g := await(t, s, id, status("Running"))
				_, strict := call(t, s, "CreateContainerGroup", with(p, pairs("StrictSpot", "true")))
				return fmt.Sprint(g["SpotStrategy"], " ", strings.Contains(eventReasons(g), "SpotDegraded"), " ", strict)
			},
		},
		{
			thrown: ecitest.Switches{StrictSpotIgnored: true}, also: ecitest.Switches{SpotDegrades: true}, own: true, off: "Spot.NotMatched", on: "DryRunOperation",
			look: func(t *testing.T, s *ecitest.Server) string {
				s.SetStock(ecitest.Stock{None: []ecitest.Offer{{Spot: true}}})
				return codeOf("CreateContainerGroup", "ContainerGroupName", "strict", "Container.1.Name", "c", "Container.1.Image", "host",
					"SpotStrategy", "SpotAsPriceGo", "StrictSpot", "true", "DryRun", "true")(t, s)
			},
		},
		{
			thrown: ecitest.Switches{ThrottledPerRegion: true}, also: ecitest.Switches{UnpublishedPerMinute: 1}, rates: everyCall, own: true,
			off: "Throttling.User", on: "",
			look: func(t *testing.T, s *ecitest.Server) string {
				if code := codeOf("ListUsage")(t, s); code != "" {
					t.Error(code)
				}
				return codeOf("ListUsage", "RegionId", "cn-hangzhou")(t, s)
			},
		},
		{
			thrown: ecitest.Switches{UnpublishedPerMinute: 2}, rates: everyCall, own: true, off: "", on: "Throttling.User",
			look: func(t *testing.T, s *ecitest.Server) string {
				for range 2 {
					if _, code := call(t, s, "ListUsage", nil); code != "" {
						t.Error(code)
					}
				}
				return codeOf("ListUsage")(t, s)
			},
		},
		{
			thrown: ecitest.Switches{ThrottlingCode: "Throttling.Api"}, also: ecitest.Switches{UnpublishedPerMinute: 1}, rates: everyCall, own: true,
			off: "Throttling.User", on: "Throttling.Api",
			look: func(t *testing.T, s *ecitest.Server) string {
				codeOf("ListUsage")(t, s)
				return codeOf("ListUsage")(t, s)
			},
		},
		{
			thrown: ecitest.Switches{ThrottlingRetryAfter: 3 * time.Second}, also: ecitest.Switches{UnpublishedPerMinute: 1}, rates: everyCall, own: true,
			off: " ", on: " 3",
			look: func(t *testing.T, s *ecitest.Server) string {
				first := callHeader(t, s, "ListUsage").Get("Retry-After")
				return first + " " + callHeader(t, s, "ListUsage").Get("Retry-After")
			},
		},
		{
			thrown: ecitest.Switches{UnknownIDOnLog: "IncorrectStatus"}, off: "InvalidParameter.NotFound", on: "IncorrectStatus",
			look: codeOf("DescribeContainerLog", "ContainerGroupId", "eci-none", "ContainerName", "build"),
		},
		{
			thrown: ecitest.Switches{LogTimestampLayout: "at"}, off: "RFC 3339", on: "at two\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				line := logs(t, s, twoLines(t, s), "Tail", "1", "Timestamps", "true")
				at, _, _ := strings.Cut(line, " ")
				if _, err := time.Parse(time.RFC3339Nano, at); err == nil {
					return "RFC 3339"
				}
				return line
			},
		},
		{
			thrown: ecitest.Switches{LogLimitKeepsEnd: true}, off: "one\nt", on: "\ntwo\n",
			look: func(t *testing.T, s *ecitest.Server) string {
				return logs(t, s, twoLines(t, s), "LimitBytes", "5")
			},
		},
		{
			thrown: ecitest.Switches{LogGoneAfterEnd: true}, off: "", on: "IncorrectStatus",
			look: func(t *testing.T, s *ecitest.Server) string {
				return codeOf("DescribeContainerLog", "ContainerGroupId", twoLines(t, s), "ContainerName", "build")(t, s)
			},
		},
		{
			thrown: ecitest.Switches{LogGoneWithContainer: true}, off: "Running ", on: "Running IncorrectStatus",
			look: func(t *testing.T, s *ecitest.Server) string {
				id := create(t, s, script("echo last word", "Container.2.Name", "other", "Container.2.Image", "host",
					"Container.2.Command.1", "sleep", "Container.2.Command.2", "60"))
				g := await(t, s, id, func(g map[string]any) bool {
					return state(g, 0)["State"] == "Terminated" && g["Status"] == "Running"
				})
				return fmt.Sprint(g["Status"], " ", codeOf("DescribeContainerLog", "ContainerGroupId", id, "ContainerName", "build")(t, s))
			},
		},
		{
			thrown: ecitest.Switches{PricePerHour: true}, off: "0.00012252 0.0397", on: "0.441072 0.0397",
			look: func(t *testing.T, s *ecitest.Server) string {
				answer, code := call(t, s, "DescribeContainerGroupPrice", pairs("Cpu", "2", "Memory", "4", "SpotStrategy", "SpotAsPriceGo"))
				if code != "" {
					t.Fatal(code)
				}
				info := answer["PriceInfo"].(map[string]any)
				spot := info["SpotPrices"].(map[string]any)["SpotPrice"].([]any)[0].(map[string]any)
				return fmt.Sprintf("%.8g %.4f", info["Price"].(map[string]any)["TradePrice"], spot["SpotPrice"])
			},
		},
		{
			thrown: ecitest.Switches{UnknownImageCacheID: "ImageCache.IncorrectStatus"}, off: "InvalidParameter.NotFound", on: "ImageCache.IncorrectStatus",
			look: codeOf("DeleteImageCache", "ImageCacheId", "imc-none"),
		},
		{
			thrown: ecitest.Switches{EventKeysLowerCamel: true}, off: "Reason", on: "reason",
			look: func(t *testing.T, s *ecitest.Server) string {
				answer, code := call(t, s, "DescribeContainerGroupEvents", pairs("ContainerGroupIds", `["`+twoLines(t, s)+`"]`))
				text, err := json.Marshal(answer)
				if code != "" || err != nil {
					t.Fatal(code, err)
				}
				switch upper, lower := strings.Contains(string(text), `"Reason":`), strings.Contains(string(text), `"reason":`); {
				case upper && !lower:
					return "Reason"
				case lower && !upper:
					return "reason"
				}
				return string(text)
			},
		},
		{
			thrown: ecitest.Switches{PriceListsFlat: true}, off: "map[string]interface {}", on: "[]interface {}",
			look: func(t *testing.T, s *ecitest.Server) string {
				answer, code := call(t, s, "DescribeContainerGroupPrice", pairs("Cpu", "2", "Memory", "4"))
				if code != "" {
					t.Fatal(code)
				}
				return fmt.Sprintf("%T", answer["PriceInfo"].(map[string]any)["Price"].(map[string]any)["DetailInfos"])
			},
		},
	}
}

// twoLines is a group that has ended after two lines of log.
func twoLines(t *testing.T, s *ecitest.Server) string {
	t.Helper()
	id := create(t, s, script("echo one; echo two"))
	await(t, s, id, status("Succeeded"))
	return id
}
