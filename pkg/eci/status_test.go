package eci

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStatus: all pages are read, and states that are not there, null or new do no harm.
func TestStatus(t *testing.T) {
	pages := []string{
		`{"NextToken":"2","Data":[{"ContainerGroupId":"eci-1","Status":"Pending","PodStatus":{"Phase":"Pending","ContainerStatuses":[
			{"Name":"helper","State":{"Running":{"StartedAt":"2026-11-24T13:00:00Z"}}},
			{"Name":"build","State":{"Waiting":{"Reason":"ErrImagePull","Message":"m"}}},
			{"Name":"svc-0","State":{"Terminated":{"ExitCode":1,"Reason":"Error"}}},
			{"Name":"svc-1","State":{"Sleeping":{}}},{"Name":"svc-2","State":null}]}}]}`,
		`{"NextToken":"","Data":[{"ContainerGroupId":"eci-2","Status":"Hibernating","PodStatus":null,"New":1}]}`,
	}
	var sent []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		sent = append(sent, r.PostForm.Get("Limit")+" "+r.PostForm.Get("Tag.1.Key")+"="+r.PostForm.Get("Tag.1.Value")+" "+r.PostForm.Get("NextToken"))
		fmt.Fprint(w, pages[min(len(sent), len(pages))-1])
	})
	got, err := c.DescribeContainerGroupStatus(t.Context(), map[string]string{"runner": "r1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []GroupStatus{
		{"eci-1", "Pending", map[string]string{"helper": "Running", "build": "Waiting ErrImagePull", "svc-0": "Terminated Error", "svc-1": "", "svc-2": ""}},
		{"eci-2", "Hibernating", map[string]string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if d := cmp.Diff([]string{"200 runner=r1 ", "200 runner=r1 2"}, sent); d != "" {
		t.Errorf("calls (-want +got)\n%s", d)
	}
}

func TestEventWords(t *testing.T) {
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{"in the table", Event{Type: "Warning", Reason: "NoStock", Message: "Create ECI failed because the specified instance is out of stock. "},
			"the zone is out of stock (NoStock: Create ECI failed because the specified instance is out of stock.)"},
		{"with ECI's prefix", Event{Type: "Normal", Reason: "SuccessfulHitImageCache", Message: "[eci.imagecache]Successfully hit image cache imc-1, eci will be scheduled with this image cache."},
			"an image cache is used (SuccessfulHitImageCache: Successfully hit image cache imc-1, eci will be scheduled with this image cache.)"},
		{"in the table, without a message", Event{Type: "Warning", Reason: "StockClose"}, "the zone takes no new groups (StockClose)"},
		{"new", Event{Type: "Warning", Reason: "SomethingNew", Message: "look\r\n\x1b[31mhere\u009b0m"}, "SomethingNew: look [31mhere 0m"},
		{"normal", Event{Type: "Normal", Reason: "Pulling", Message: `Pulling image "x"`}, `Pulling image "x"`},
		{"without a message", Event{Type: "Normal", Reason: "Started"}, "Started"},
		{"empty", Event{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.event.Words(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	seen := map[string]bool{}
	for _, k := range EventKinds() {
		if seen[k.Reason] || k.Words == "" || (k.Class == Stop || k.Class == Capacity) && k.Advice == "" {
			t.Errorf("%s is there twice, or says nothing", k.Reason)
		}
		seen[k.Reason] = true
	}
}
