package eci

import (
	"context"
	"fmt"
	"strings"
)

// GroupStatus is what the cheapest call tells of a group: enough to see that
// something has changed.
type GroupStatus struct {
	ID         string
	Status     string            // as of Group
	Containers map[string]string // name -> state and reason, e.g. "Waiting ErrImagePull"
}

// mostStatuses is the documented number of groups an answer.
const mostStatuses = 200

// DescribeContainerGroupStatus returns the status of every group of the region
// that carries the tags, page by page.
func (c *Client) DescribeContainerGroupStatus(ctx context.Context, tags map[string]string) ([]GroupStatus, error) {
	params := Params{"Limit": fmt.Sprint(mostStatuses)}
	params.tags(tags)
	var groups []GroupStatus
	call := call{"DescribeContainerGroupStatus", "describe the status of container groups", "", params}
	err := call.pages(func() (string, error) {
		var answer struct {
			NextToken string
			Data      []statusJSON
		}
		if err := c.do(ctx, call, &answer); err != nil {
			return "", err
		}
		for _, s := range answer.Data {
			groups = append(groups, s.status())
		}
		return answer.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	return groups, nil
}

// statusJSON is a group as the API writes it here: as Kubernetes sees a pod.
type statusJSON struct {
	ContainerGroupId, Status string
	PodStatus                struct {
		ContainerStatuses []struct {
			Name  string
			State struct {
				Waiting, Terminated *struct{ Reason string }
				Running             *struct{}
			}
		}
	}
}

func (j statusJSON) status() GroupStatus {
	s := GroupStatus{ID: j.ContainerGroupId, Status: j.Status, Containers: map[string]string{}}
	for _, c := range j.PodStatus.ContainerStatuses {
		state := ""
		switch {
		case c.State.Running != nil:
			state = "Running"
		case c.State.Terminated != nil:
			state = "Terminated " + c.State.Terminated.Reason
		case c.State.Waiting != nil:
			state = "Waiting " + c.State.Waiting.Reason
		}
		s.Containers[c.Name] = strings.TrimSpace(state)
	}
	return s
}
