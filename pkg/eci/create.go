package eci

import "context"

// CreateContainerGroup asks for a group and returns its id. The call is
// asynchronous: that the group can't be had may still show in its status and
// events. The same client token with the same parameters is one group, however
// often it is sent (sources.md: create).
func (c *Client) CreateContainerGroup(ctx context.Context, p Params) (string, error) {
	var answer struct{ ContainerGroupId, RequestId string }
	call := call{action: "CreateContainerGroup", op: "create container group", id: p["ContainerGroupName"], params: p}
	if err := c.do(ctx, call, &answer); err != nil {
		return "", err
	}
	if answer.ContainerGroupId == "" {
		return "", &Error{Op: call.op, ID: call.id, Action: call.action, RequestID: answer.RequestId, Message: "the answer holds no group id"}
	}
	return answer.ContainerGroupId, nil
}
