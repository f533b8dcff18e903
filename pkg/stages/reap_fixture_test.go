package stages_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// front stands before the local ECI, tells another time in its answers, and hides
// all groups while it is told to.
type front struct {
	url    string
	date   func(time.Time) string // the header of an answer given at that time; "" = none
	hidden atomic.Bool
}

func (w *world) front(t *testing.T, date func(time.Time) string) *front {
	t.Helper()
	target, err := url.Parse(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	f := &front{date: date}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		// What the ECI cuts is cut here too.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("Date")
			if date := f.date(time.Now()); date != "" {
				r.Header.Set("Date", date)
			}
			if f.hidden.Load() && r.StatusCode == http.StatusOK && r.Request.URL.Query().Get("Action") == "DescribeContainerGroups" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
				r.Header.Set("Content-Length", "2")
			}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil // net/http would write its own where the proxy has none
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// in tells a time that lies so far ahead.
func in(d time.Duration) func(time.Time) string {
	return func(now time.Time) string { return now.Add(d).UTC().Format(http.TimeFormat) }
}

// skewed is a host's clock that is off by so much.
type skewed struct {
	stages.SystemClock
	by time.Duration
}

func (c skewed) Now() time.Time { return time.Now().Add(c.by) }

func (w *world) client(t testing.TB, endpoint string) *eci.Client {
	t.Helper()
	client, err := eci.New(eci.Options{Region: w.config.Region, Endpoint: endpoint, CallTimeout: w.config.Timeouts.Call,
		Credentials: eci.Credentials{AccessKeyID: "local", AccessKeySecret: "local-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// reaping is one reap by a host whose clock is off, against an ECI whose clock is
// off by as much as it likes.
type reaping struct {
	host, server time.Duration
	options      stages.ReapOptions
	noDate       bool
}

func (w *world) reap(t *testing.T, r reaping) (string, error) {
	t.Helper()
	date := in(r.server)
	if r.noDate {
		date = func(time.Time) string { return "" }
	}
	var out bytes.Buffer
	reaper := stages.Reaper{Config: w.config, API: w.client(t, w.front(t, date).url), Clock: skewed{by: r.host}, Stdout: &out}
	err := reaper.Reap(w.context(t), r.options)
	t.Logf("reap: %v\n%s", err, out.String())
	return out.String(), err
}

// tagsOf are the tags of a group of runner 12, changed; "" takes a tag away.
func tagsOf(changes map[string]string) map[string]string {
	tags := map[string]string{"managed-by": "eci-executor", "instance": "gitlab.example.com", "runner": "12", "project": "7", "job": "42",
		"pipeline": "99", "attempt": "0123abcd", "expires-at": unix(time.Hour)}
	maps.Copy(tags, changes)
	maps.DeleteFunc(tags, func(_, v string) bool { return v == "" })
	return tags
}

// unix is a time from now as the tag expires-at has it.
func unix(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }

// group makes a group by the API alone, as another host's driver would, and waits
// until its container runs, or has ended where its command ends.
func (w *world) group(t *testing.T, name string, tags map[string]string, command ...string) string {
	t.Helper()
	spec := eci.GroupSpec{Name: name, CPU: 2, MemoryGiB: 4, RestartPolicy: "Never", Tags: tags,
		Containers: []eci.Container{{Name: "build", Image: "host", PullPolicy: "IfNotPresent", Command: command}}}
	client := w.client(t, w.server.URL())
	id, err := client.CreateContainerGroup(w.context(t), spec.Params())
	if err != nil {
		t.Fatal(err)
	}
	want := "Succeeded"
	if command[0] == "sleep" {
		want = "Running"
	}
	w.awaitStatus(t, id, want)
	return id
}

// awaitStatus polls, as anybody would: no event tells a group's status.
func (w *world) awaitStatus(t *testing.T, id, want string) {
	t.Helper()
	client := w.client(t, w.server.URL())
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		groups, err := client.DescribeContainerGroups(w.context(t), eci.Query{IDs: []string{id}})
		if err == nil && len(groups) == 1 && groups[0].Status == want {
			return
		}
	}
	t.Fatalf("group %s is never %s", id, want)
}

// row wants a line of the table that has all the parts.
func row(t *testing.T, table string, parts ...string) {
	t.Helper()
	for line := range strings.Lines(table) {
		found := true
		for _, p := range parts {
			found = found && strings.Contains(line, p)
		}
		if found {
			return
		}
	}
	t.Errorf("no line has %q in\n%s", parts, table)
}

// stateFiles lists state_dir without its lock.
func (w *world) stateFiles(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.config.StateDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if name := filepath.Base(f); name != ".lock" {
			names = append(names, name)
		}
	}
	return names
}

func (w *world) writeState(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(w.config.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.config.StateDir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// without leaves out the names that end so.
func without(names []string, suffix string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasSuffix(n, suffix) })
}
