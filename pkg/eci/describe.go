package eci

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Query selects groups; what is empty does not select.
type Query struct {
	IDs       []string
	Name      string
	Status    string
	Tags      map[string]string
	WithEvent bool
}

const (
	mostIDs   = 20  // ids in a query, and groups in an answer, as documented
	mostPages = 500 // a bound for a server whose pages never end
)

// Listing is the groups that a query selected, and the time of the server's clock at the
// first answer. Ages must be reckoned by that clock, because the clock of the caller's host
// may be wrong.
type Listing struct {
	Groups []Group
	Date   time.Time // to the second; zero where no answer told
}

// DescribeContainerGroups returns every group of the region that q selects, page
// by page. An id that is not known is left out of the answer.
func (c *Client) DescribeContainerGroups(ctx context.Context, q Query) ([]Group, error) {
	listing, err := c.ListContainerGroups(ctx, q)
	return listing.Groups, err
}

// ListContainerGroups is DescribeContainerGroups with the server's time.
func (c *Client) ListContainerGroups(ctx context.Context, q Query) (Listing, error) {
	params := Params{"Limit": fmt.Sprint(mostIDs)}
	params.set("ContainerGroupName", q.Name)
	params.set("Status", q.Status)
	params.flag("WithEvent", q.WithEvent)
	params.tags(q.Tags)
	var listing Listing
	if len(q.IDs) == 0 {
		err := c.describe(ctx, params, "", &listing)
		return listing, err
	}
	for ids := range slices.Chunk(q.IDs, mostIDs) {
		list, err := json.Marshal(ids)
		if err != nil {
			return Listing{}, err
		}
		params["ContainerGroupIds"] = string(list)
		delete(params, "NextToken")
		if err := c.describe(ctx, params, strings.Join(ids, ","), &listing); err != nil {
			return Listing{}, err
		}
	}
	return listing, nil
}

// describe adds all pages of one query to the listing, whose date stays that of the first
// answer.
func (c *Client) describe(ctx context.Context, params Params, id string, listing *Listing) error {
	call := call{"DescribeContainerGroups", "describe container groups", id, params}
	return call.pages(func() (string, error) {
		var answer struct {
			NextToken       string
			ContainerGroups []groupJSON
		}
		date, err := c.doDated(ctx, call, &answer)
		if err != nil {
			return "", err
		}
		if listing.Date.IsZero() {
			listing.Date = date
		}
		for _, g := range answer.ContainerGroups {
			listing.Groups = append(listing.Groups, g.group())
		}
		return answer.NextToken, nil
	})
}

// pages calls page for one page after the other, until one names no next page, or one that
// was had before.
func (c call) pages(page func() (next string, err error)) error {
	seen := map[string]bool{}
	for range mostPages {
		next, err := page()
		if err != nil || next == "" || seen[next] {
			return err
		}
		seen[next] = true
		c.params["NextToken"] = next
	}
	return &Error{Op: c.op, Message: fmt.Sprintf("more than %d pages", mostPages)}
}

// groupJSON is a group as the API writes it. Times are strings, because nothing
// says that they are always there and well-formed.
type groupJSON struct {
	ContainerGroupId, ContainerGroupName, Status, InstanceType, SpotStrategy string
	ZoneId, VSwitchId, IntranetIp                                            string
	Cpu, Memory                                                              float64
	CreationTime, SucceededTime, FailedTime, ExpiredTime                     string
	Tags                                                                     []struct{ Key, Value string }
	Containers                                                               []containerJSON
	Events                                                                   []eventJSON
}

type containerJSON struct {
	Name, Image  string
	Ready        bool
	RestartCount int
	CurrentState struct {
		State, Reason, Message, StartTime, FinishTime string
		ExitCode                                      int
	}
}

type eventJSON struct {
	Type, Reason, Message, Name, FirstTimestamp, LastTimestamp string
	Count                                                      int
}

func (j groupJSON) group() Group {
	g := Group{
		ID: j.ContainerGroupId, Name: j.ContainerGroupName, Status: j.Status, CPU: j.Cpu, MemoryGiB: j.Memory,
		InstanceType: j.InstanceType, SpotStrategy: j.SpotStrategy, ZoneID: j.ZoneId, VSwitchID: j.VSwitchId,
		IntranetIP: j.IntranetIp, CreationTime: when(j.CreationTime), SucceededTime: when(j.SucceededTime),
		FailedTime: when(j.FailedTime), ExpiredTime: when(j.ExpiredTime), Tags: map[string]string{},
	}
	for _, t := range j.Tags {
		g.Tags[t.Key] = t.Value
	}
	for _, c := range j.Containers {
		s := c.CurrentState
		g.Containers = append(g.Containers, ContainerStatus{
			Name: c.Name, Image: c.Image, State: s.State, Reason: s.Reason, Message: s.Message, ExitCode: s.ExitCode,
			Ready: c.Ready, RestartCount: c.RestartCount, StartTime: when(s.StartTime), FinishTime: when(s.FinishTime),
		})
	}
	for _, e := range j.Events {
		g.Events = append(g.Events, e.event())
	}
	return g
}

func (j eventJSON) event() Event {
	return Event{Type: j.Type, Reason: j.Reason, Message: j.Message, Name: j.Name,
		Count: j.Count, First: when(j.FirstTimestamp), Last: when(j.LastTimestamp)}
}

// when is a time of the API, zero where it is missing or can't be read.
func when(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
