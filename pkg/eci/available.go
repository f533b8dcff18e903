package eci

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// StockQuery is what stock is asked for: an ECS instance type, or else a size.
type StockQuery struct {
	InstanceType   string
	CPU            float64
	MemoryGiB      float64
	SpotStrategy   string // this and what follows as in GroupSpec
	SpotPriceLimit float64
	SpotDuration   int
}

// DescribeAvailableResource returns the zones of the region that have what is asked
// for, and those that don't, sorted (sources.md: stock).
func (c *Client) DescribeAvailableResource(ctx context.Context, q StockQuery) (with, without []string, err error) {
	params := Params{"DestinationResource.Category": "InstanceType"}
	params.set("DestinationResource.Value", q.InstanceType)
	if q.InstanceType == "" {
		params.number("DestinationResource.Cores", q.CPU)
		params.number("DestinationResource.Memory", q.MemoryGiB)
	}
	if q.SpotStrategy != "" {
		params.set("SpotResource.SpotStrategy", q.SpotStrategy)
		params.number("SpotResource.SpotPriceLimit", q.SpotPriceLimit)
		params["SpotResource.SpotDuration"] = strconv.Itoa(q.SpotDuration) // 0 is one too
	}
	var answer struct {
		AvailableZones struct {
			AvailableZone []struct {
				ZoneId             string
				AvailableResources struct {
					AvailableResource []struct {
						SupportedResources struct {
							SupportedResource []struct{ StatusCategory string }
						}
					}
				}
			}
		}
	}
	if err := c.do(ctx, call{"DescribeAvailableResource", "ask for the stock", "", params}, &answer); err != nil {
		return nil, nil, err
	}
	has := map[string]bool{}
	for _, zone := range answer.AvailableZones.AvailableZone {
		has[zone.ZoneId] = has[zone.ZoneId] || false
		for _, resource := range zone.AvailableResources.AvailableResource {
			for _, r := range resource.SupportedResources.SupportedResource {
				// ClosedWithStock is stock that runs short.
				if strings.HasSuffix(r.StatusCategory, "WithStock") {
					has[zone.ZoneId] = true
				}
			}
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(has)) {
		if has[zone] {
			with = append(with, zone)
		} else {
			without = append(without, zone)
		}
	}
	return with, without, nil
}
