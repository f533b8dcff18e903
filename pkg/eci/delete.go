package eci

import (
	"context"
	"errors"
	"strings"
)

// DeleteContainerGroup asks for the end of a group; force skips its grace
// period. A server that does not know Force is asked again without.
func (c *Client) DeleteContainerGroup(ctx context.Context, id string, force bool) error {
	params := Params{"ContainerGroupId": id}
	params.flag("Force", force)
	var answer struct{}
	err := c.do(ctx, call{"DeleteContainerGroup", "delete container group", id, params}, &answer)
	var e *Error
	if force && errors.As(err, &e) && e.HTTPStatus == 400 && strings.Contains(e.Code+e.Message, "Force") {
		delete(params, "Force")
		return c.do(ctx, call{"DeleteContainerGroup", "delete container group", id, params}, &answer)
	}
	return err
}
