package stages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// oddServer answers as no ECI does that we know: describe gets the groups of the
// script in turn, the last one for ever.
func oddServer(t *testing.T, script ...string) (*world, *atomic.Int64) {
	t.Helper()
	var looks atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.Form.Get("Action") {
		case "CreateContainerGroup":
			fmt.Fprint(w, `{"ContainerGroupId":"eci-1"}`)
		case "DescribeContainerGroups":
			if r.Form.Get("ContainerGroupIds") == "" { // cleanup's look for others
				fmt.Fprint(w, `{}`)
				return
			}
			n := looks.Add(1)
			fmt.Fprintf(w, `{"ContainerGroups":[%s]}`, script[min(int(n), len(script))-1])
		case "DeleteContainerGroup":
			fmt.Fprint(w, `{}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"Code":"InvalidAction.NotFound","Message":"never heard of it"}`)
		}
	}))
	t.Cleanup(server.Close)
	w := &world{dir: t.TempDir()}
	var err error
	if w.config, err = config.Parse("test.toml", fmt.Appendf(nil, driverFile, server.URL, filepath.Join(w.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	w.env = stages.Env{BuildFailure: 1, SystemFailure: 2, Attempt: "0123abcd",
		Custom: map[string]string{"CI_RUNNER_VERSION": "19.4.0"}, JobResponseFile: filepath.Join(w.dir, "response.json")}
	w.job(t, nil)
	return w, &looks
}

// oddGroup is a group in a state, with helper and build in states.
func oddGroup(status string, containers ...string) string {
	var list []map[string]any
	for i, state := range containers {
		list = append(list, map[string]any{"Name": []string{"helper", "build"}[i], "CurrentState": map[string]any{"State": state, "Reason": "Odd"}})
	}
	text, _ := json.Marshal(map[string]any{"ContainerGroupId": "eci-1", "Status": status, "Containers": list}) //nolint:errchkjson // plain values
	return string(text)
}

// States that nobody has documented neither end the wait nor make it endless.
func TestUnknownStates(t *testing.T) {
	t.Parallel()
	running := oddGroup("Running", "Running", "Running")
	tests := []struct {
		name   string
		script []string
		want   []string // of the error; nil = the group runs in the end
	}{
		{"a status that is new, then it runs", []string{oddGroup("Hibernating"), oddGroup("Hibernating", "Dreaming", ""), running}, nil},
		{"no status", []string{`{"ContainerGroupId":"eci-1"}`, running}, nil},
		{"null everywhere", []string{`{"ContainerGroupId":"eci-1","Status":null,"Containers":null,"Events":null}`, running}, nil},
		{"runs by its containers, with a status that is new", []string{oddGroup("Glowing", "Running", "Running")}, nil},
		{"a status that is new, for ever", []string{oddGroup("Hibernating", "Dreaming", "Waiting")},
			[]string{"not ready within [timeouts] ready = 3s", "status Hibernating", "helper dreaming Odd"}},
		{"running without containers", []string{`{"ContainerGroupId":"eci-1","Status":"Running"}`}, []string{"not ready within", "status Running"}},
		{"never listed", []string{""}, []string{"not ready within", "eci:DescribeContainerGroups"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, looks := oddServer(t, tt.script...)
			if tt.want != nil {
				w.config.Timeouts.Ready = 3 * time.Second
			}
			log, err := w.prepare(t)
			if tt.want == nil {
				if err != nil || !strings.Contains(log, "is ready after") {
					t.Errorf("%v\n%s", err, log)
				}
			} else {
				wantError(t, err, tt.want...)
			}
			if n := looks.Load(); n > 12 {
				t.Errorf("%d looks", n)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// quickClock runs n times as fast as the real one.
type quickClock struct {
	begun time.Time
	n     time.Duration
}

func (c quickClock) Now() time.Time                         { return c.begun.Add(c.n * time.Since(c.begun)) }
func (c quickClock) After(d time.Duration) <-chan time.Time { return time.After(d / c.n) }

// steppedClock goes on only when somebody waits.
type steppedClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *steppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *steppedClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	done := make(chan time.Time, 1)
	done <- c.now
	return done
}

// A new group that is not listed for half a minute is waited for.
func TestGroupThatIsListedLate(t *testing.T) {
	running := oddGroup("Running", "Running", "Running")
	w, looks := oddServer(t, "", "", "", "", "", running)
	w.config.Timeouts.Ready = time.Hour // by the stepped clock as by the real one
	stage := w.stage(t, new(bytes.Buffer))
	stage.Clock = &steppedClock{now: time.Now()}
	if err := stage.Prepare(w.context(t)); err != nil {
		t.Error(err)
	}
	if n := looks.Load(); n < 6 {
		t.Errorf("%d looks", n)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A group that was accepted but never shows is given up after a while, and the
// likely reason, a right that is missing, is told.
func TestGroupThatIsNeverListed(t *testing.T) {
	w, looks := oddServer(t, "")
	w.config.Timeouts.Ready = time.Hour // by the quick clock as by the real one
	stage := w.stage(t, new(bytes.Buffer))
	stage.Clock = quickClock{time.Now(), 100}
	wantError(t, stage.Prepare(w.context(t)), "container group eci-1 was accepted, but ECI does not list it", "eci:DescribeContainerGroups")
	if n := looks.Load(); n < 3 {
		t.Errorf("given up after %d looks", n)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}
