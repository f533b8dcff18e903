package eci

import "context"

// mostLogLines is the documented number of lines an answer.
const mostLogLines = 2000

// DescribeContainerLog returns the last 2000 lines, at most 1 MiB, of what a
// container's own process wrote to stdout and stderr. What execs write is not in
// it, and there is no cursor (sources.md: log).
func (c *Client) DescribeContainerLog(ctx context.Context, group, container string) (string, error) {
	params := Params{"ContainerGroupId": group, "ContainerName": container}
	params.integer("Tail", mostLogLines)
	var answer struct{ Content string }
	err := c.do(ctx, call{"DescribeContainerLog", "read the log of container " + container + " of", group, params}, &answer)
	return answer.Content, err
}
