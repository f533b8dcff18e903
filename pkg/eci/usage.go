package eci

import "context"

// Usage is what a region's vCPU quota is and what of it is used.
type Usage struct{ UsedCPU, MaxCPU float64 }

// ListUsage returns the usage of the client's region (sources.md: usage). A figure that
// the answer does not hold is 0.
func (c *Client) ListUsage(ctx context.Context) (Usage, error) {
	var answer struct {
		Attributes struct{ UsedCpu, MaxCpu float64 }
	}
	err := c.do(ctx, call{action: "ListUsage", op: "ask for the quota"}, &answer)
	return Usage{answer.Attributes.UsedCpu, answer.Attributes.MaxCpu}, err
}

// DescribeRegions returns the zones of each region that ECI is sold in.
func (c *Client) DescribeRegions(ctx context.Context) (map[string][]string, error) {
	var answer struct {
		Regions []struct {
			RegionId string
			Zones    []string
		}
	}
	if err := c.do(ctx, call{action: "DescribeRegions", op: "list the regions"}, &answer); err != nil {
		return nil, err
	}
	zones := map[string][]string{}
	for _, r := range answer.Regions {
		zones[r.RegionId] = r.Zones
	}
	return zones, nil
}
