package check_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/check"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// lineOf finds the first line of a check.
func lineOf(t *testing.T, r *check.Report, name string) check.Line {
	t.Helper()
	for _, l := range r.Lines {
		if l.Check == name {
			return l
		}
	}
	t.Fatalf("no line of %s", name)
	return check.Line{}
}

// A service that makes a group in spite of DryRun is told, and the group deleted.
func TestDryRunIgnored(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	var made, deleted atomic.Int32
	odd := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		answer := map[string]any{"RequestId": "R"}
		switch r.FormValue("Action") {
		case "DescribeRegions":
			answer["Regions"] = []map[string]any{{"RegionId": "ap-northeast-1"}}
		case "CreateContainerGroup":
			made.Add(1)
			answer["ContainerGroupId"] = "eci-made"
			if r.FormValue("ActiveDeadlineSeconds") != "60" {
				t.Errorf("a group that would live for %s s", r.FormValue("ActiveDeadlineSeconds"))
			}
		case "DeleteContainerGroup":
			if r.FormValue("ContainerGroupId") == "eci-made" {
				deleted.Add(1)
			}
		}
		json.NewEncoder(a).Encode(answer)
	}))
	defer odd.Close()
	w.replace(w.server.URL(), odd.URL)
	report := w.check()
	l := lineOf(t, report, "ram-create")
	if l.Status != check.Failed || !strings.Contains(l.Text, "ignores DryRun") || !strings.Contains(l.Text, "eci-made, which was deleted at once") {
		t.Error(l)
	}
	if lineOf(t, report, "request").Status != check.Skipped || made.Load() != 1 || deleted.Load() != 1 {
		t.Errorf("%d groups made, %d deleted", made.Load(), deleted.Load())
	}
}

// What never answers costs its own check its time, and no other one anything.
func TestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecitest.Options{})
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.options.WebSocket = "http://" + silent.Addr().String()
	w.options.Limit = 15 * time.Second
	w.options.Prober.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	report := w.check()
	for _, l := range report.Lines {
		late := l.Check == "websocket" || l.Check == "nas"
		if late != (l.Status == check.Failed) {
			t.Error(l)
		}
	}
	if l := lineOf(t, report, "websocket"); !strings.Contains(l.Text, "no answer within 15s") {
		t.Error(l)
	}
}

// A Ctrl-C ends the checks that wait, with a line each.
func TestInterrupted(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	w.write()
	ctx, cancel := context.WithCancel(t.Context())
	w.options.Prober.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	report := check.Run(ctx, w.options, func(check.Line) {})
	if l := lineOf(t, report, "nas"); l.Status != check.Failed || report.ExitStatus() != 2 {
		t.Error(l)
	}
}

// answering stands for hosts that all answer, and remembers which were asked.
type answering struct {
	mu    sync.Mutex
	asked []string
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.URL.String())
	header := http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
	return &http.Response{StatusCode: http.StatusNotFound, Header: header, Body: http.NoBody, Request: r}, nil
}

// Without an endpoint in the driver's file the region's own hosts are asked.
func TestHostsOfTheRegion(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	url := w.server.URL()
	w.replace(url, "")
	w.options.NewClient = func(cfg *config.Config) (*eci.Client, error) {
		local := *cfg
		local.Endpoint = url
		return newClient(&local)
	}
	hosts := &answering{}
	w.options.Transport = hosts
	report := w.check()
	for name, want := range map[string]string{"endpoint": "https://eci-vpc.ap-northeast-1.aliyuncs.com", "websocket": "https://eci-ap-northeast-1.aliyun.com"} {
		if l := lineOf(t, report, name); l.Status != check.OK || !strings.HasPrefix(l.Text, want+", answers in") || !slices.Contains(hosts.asked, want+"/") {
			t.Errorf("%s %q", l, hosts.asked)
		}
	}
}
