package eci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDescribePages: a group on a later page is not forgotten, nor an endless
// chain of pages followed.
func TestDescribePages(t *testing.T) {
	tests := []struct {
		name string
		next []string // tokens of the answers, "" ends
		want []string // tokens that are sent
	}{
		{"one page", []string{""}, []string{""}},
		{"three pages", []string{"a", "b", ""}, []string{"", "a", "b"}},
		{"the same token again", []string{"a", "a", "a", "a"}, []string{"", "a"}},
		{"two tokens in turn", []string{"a", "b", "a", "b"}, []string{"", "a", "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent []string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				r.ParseForm()
				sent = append(sent, r.PostForm.Get("NextToken"))
				n := min(len(sent), len(tt.next))
				reply(w, 200, map[string]any{"NextToken": tt.next[n-1], "ContainerGroups": []any{
					map[string]any{"ContainerGroupId": fmt.Sprintf("eci-%d", len(sent))}}})
			})
			groups, err := c.DescribeContainerGroups(context.Background(), Query{Tags: map[string]string{"runner": "r1"}})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, sent); d != "" {
				t.Errorf("tokens (-want +sent):\n%s", d)
			}
			if len(groups) != len(tt.want) || groups[len(groups)-1].ID != fmt.Sprintf("eci-%d", len(tt.want)) {
				t.Errorf("got %+v", groups)
			}
		})
	}
}

// TestDescribeManyIDs: the API takes 20 ids a call, a busy runner has more; the
// three lists have two pages each.
func TestDescribeManyIDs(t *testing.T) {
	var ids []string
	for i := range 45 {
		ids = append(ids, fmt.Sprintf("eci-%02d", i))
	}
	var sizes []int
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		var asked []string
		if err := json.Unmarshal([]byte(r.PostForm.Get("ContainerGroupIds")), &asked); err != nil || len(asked) == 0 {
			refuse(w, 400, "InvalidParameter", fmt.Sprint(err))
			return
		}
		sizes = append(sizes, len(asked))
		next, token := "next-of-"+asked[0], r.PostForm.Get("NextToken")
		switch token { // two pages; a token of other ids is refused
		case "":
			asked = asked[:3]
		case next:
			asked, next = asked[3:], ""
		default:
			refuse(w, 400, "InvalidParameter", "token "+token)
			return
		}
		var groups []any
		for _, id := range asked {
			groups = append(groups, map[string]any{"ContainerGroupId": id})
		}
		reply(w, 200, map[string]any{"NextToken": next, "ContainerGroups": groups})
	})
	groups, err := c.DescribeContainerGroups(context.Background(), Query{IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range groups {
		got = append(got, g.ID)
	}
	if d := cmp.Diff(ids, got); d != "" {
		t.Errorf("ids (-asked +got):\n%s", d)
	}
	if d := cmp.Diff([]int{20, 20, 20, 20, 5, 5}, sizes); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

// TestListingDate: ages are reckoned by the server's clock, which must be that of
// the first page, and never a guess.
func TestListingDate(t *testing.T) {
	first := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		header []string // of each page
		want   time.Time
	}{
		{"one page", []string{"Tue, 24 Nov 2026 13:00:00 GMT"}, first},
		{"the first of two pages", []string{"Tue, 24 Nov 2026 13:00:00 GMT", "Tue, 24 Nov 2026 13:00:05 GMT"}, first},
		{"not a date", []string{"yesterday"}, time.Time{}},
		{"no header", []string{""}, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := 0
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = nil // net/http would write its own
				if tt.header[page] != "" {
					w.Header().Set("Date", tt.header[page])
				}
				page++
				next := ""
				if page < len(tt.header) {
					next = fmt.Sprint(page)
				}
				reply(w, 200, map[string]any{"NextToken": next, "ContainerGroups": []any{
					map[string]any{"ContainerGroupId": fmt.Sprint(page)}}})
			})
			listing, err := c.ListContainerGroups(context.Background(), Query{})
			if err != nil {
				t.Fatal(err)
			}
			if !listing.Date.Equal(tt.want) || len(listing.Groups) != len(tt.header) {
				t.Errorf("date %v and %d groups, want %v and %d", listing.Date, len(listing.Groups), tt.want, len(tt.header))
			}
		})
	}
}

// TestDescribeQuery names what is asked for on the wire.
func TestDescribeQuery(t *testing.T) {
	got := Params{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		for key := range r.PostForm {
			if !r.URL.Query().Has(key) {
				got[key] = r.PostForm.Get(key)
			}
		}
		reply(w, 200, map[string]any{})
	})
	groups, err := c.DescribeContainerGroups(context.Background(), Query{IDs: []string{"eci-1"}, Name: "ci-1", Status: "Running",
		WithEvent: true, Tags: map[string]string{"runner": "r1", "job": "7"}})
	if err != nil || len(groups) != 0 {
		t.Fatalf("got %v, %v", groups, err)
	}
	want := Params{"ContainerGroupIds": `["eci-1"]`, "ContainerGroupName": "ci-1", "Status": "Running", "WithEvent": "true",
		"Limit": "20", "Tag.1.Key": "job", "Tag.1.Value": "7", "Tag.2.Key": "runner", "Tag.2.Value": "r1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("parameters (-want +sent):\n%s", d)
	}
}

// TestDescribeDecodes: a status that ECI adds one day, or a time that is not one,
// must not end a job.
func TestDescribeDecodes(t *testing.T) {
	const answer = `{"RequestId":"R","TotalCount":1,"New":{"a":[1]},"ContainerGroups":[{
		"ContainerGroupId":"eci-1","ContainerGroupName":"ci-1","Status":"Hibernating","Cpu":0.5,"Memory":1.0,
		"InstanceType":"ecs.t","SpotStrategy":"NoSpot","ZoneId":"ap-northeast-1a","VSwitchId":"vsw-a","IntranetIp":"10.0.0.7",
		"CreationTime":"2026-11-24T13:00:00Z","SucceededTime":"yesterday","ExpiredTime":"2026-11-24T13:00:09Z","Tags":[{"Key":"job","Value":"7"}],
		"Containers":[{"Name":"build","Image":"alpine","Ready":true,"RestartCount":2,"CurrentState":{"State":"Terminated",
			"Reason":"Error","Message":"m","ExitCode":137,"StartTime":"2026-11-24T13:00:01Z","FinishTime":""}},
			{"Name":"new","CurrentState":null}],
		"Events":[{"Type":"Warning","Reason":"Failed","Message":"no image","Name":"build","Count":3,
			"FirstTimestamp":"2026-11-24T13:00:02Z","LastTimestamp":"24/11/2026"}],"InitContainers":null}]}`
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
	groups, err := c.DescribeContainerGroups(context.Background(), Query{WithEvent: true})
	if err != nil {
		t.Fatal(err)
	}
	at := func(second int) time.Time { return time.Date(2026, 11, 24, 13, 0, second, 0, time.UTC) }
	want := []Group{{ID: "eci-1", Name: "ci-1", Status: "Hibernating", CPU: 0.5, MemoryGiB: 1, InstanceType: "ecs.t", SpotStrategy: "NoSpot",
		ZoneID: "ap-northeast-1a", VSwitchID: "vsw-a", IntranetIP: "10.0.0.7", CreationTime: at(0), ExpiredTime: at(9), Tags: map[string]string{"job": "7"},
		Containers: []ContainerStatus{{Name: "build", Image: "alpine", State: "Terminated", Reason: "Error", Message: "m",
			ExitCode: 137, Ready: true, RestartCount: 2, StartTime: at(1)}, {Name: "new"}},
		Events: []Event{{Type: "Warning", Reason: "Failed", Message: "no image", Name: "build", Count: 3, First: at(2)}}}}
	if d := cmp.Diff(want, groups); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
	if groups[0].Terminal() || groups[0].Container("build").ExitCode != 137 || groups[0].Container("none") != nil {
		t.Errorf("an unknown status is the end, or a container is not found: %+v", groups[0])
	}
}

// TestDelete: Force is newer than some of ECI's documentation; a group must go
// all the same, and no other refusal may be hidden by a second try.
func TestDelete(t *testing.T) {
	tests := []struct {
		name          string
		force         bool
		code, message string // the answer to a call with Force
		status        int
		want          []string // Force of each call
		class         Class    // of the error, where there is one
	}{
		{"without force", false, "", "", 200, []string{""}, Unknown},
		{"force is known", true, "", "", 200, []string{"true"}, Unknown},
		{"force is not known", true, "InvalidParameter", "The parameter Force is not supported.", 400, []string{"true", ""}, Unknown},
		{"force in the code", true, "UnsupportedParameter.Force", "Not supported.", 400, []string{"true", ""}, Unknown},
		{"no right", true, "Forbidden.RAM", "User not authorized.", 403, []string{"true"}, Stop},
		{"gone", true, "InvalidParameter.NotFound", "No such group.", 400, []string{"true"}, NotFound},
		{"server error that names it", true, "InternalError", "Force failed.", 500, []string{"true"}, Retry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent []string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				r.ParseForm()
				if id := r.PostForm.Get("ContainerGroupId"); id != "eci-1" {
					t.Errorf("id %q", id)
				}
				sent = append(sent, r.PostForm.Get("Force"))
				if r.PostForm.Has("Force") && tt.status != 200 {
					refuse(w, tt.status, tt.code, tt.message)
					return
				}
				reply(w, 200, map[string]any{"RequestId": "REQ-1"})
			})
			err := c.DeleteContainerGroup(context.Background(), "eci-1", tt.force)
			var e *Error
			if (err != nil) != (tt.class != Unknown) || ClassOf(err) != tt.class || err != nil && (!errors.As(err, &e) || e.Code != tt.code) {
				t.Errorf("class %d, want %d: %v", ClassOf(err), tt.class, err)
			}
			if d := cmp.Diff(tt.want, sent); d != "" {
				t.Errorf("Force of the calls (-want +sent):\n%s", d)
			}
		})
	}
}

// BenchmarkDescribe is one call against a local server: our own share of it.
func BenchmarkDescribe(b *testing.B) {
	c := serve(b, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ContainerGroups":[{"ContainerGroupId":"eci-1","Status":"Running"}]}`)
	})
	q := Query{IDs: []string{"eci-1"}}
	for b.Loop() {
		if groups, err := c.DescribeContainerGroups(context.Background(), q); err != nil || len(groups) != 1 {
			b.Fatalf("%v, %v", groups, err)
		}
	}
}
