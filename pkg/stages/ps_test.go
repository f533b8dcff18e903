package stages_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/internal/remote"
	"github.com/eci-executor/eci-executor/pkg/eci"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
	"github.com/eci-executor/eci-executor/pkg/stages"
)

// operator is what a person works with, beside the stages.
func (w *world) operator(t testing.TB, out, notes *bytes.Buffer) *stages.Operator {
	t.Helper()
	s := w.stage(t, out)
	o := &stages.Operator{Config: s.Config, API: s.API, Clock: s.Clock, Stdout: out, Stderr: t.Output(), Logger: s.Logger,
		Remote: remote.DefaultSettings().Scaled(20)}
	if notes != nil {
		o.Stderr = notes
	}
	return o
}

func (w *world) ps(t testing.TB) []stages.Listed {
	t.Helper()
	return w.psBy(t, func(api stages.API) stages.API { return api })
}

// psBy is ps with another API.
func (w *world) psBy(t testing.TB, change func(stages.API) stages.API) []stages.Listed {
	t.Helper()
	var out bytes.Buffer
	o := w.operator(t, &out, nil)
	o.API = change(o.API)
	if err := o.PS(w.context(t), true); err != nil {
		t.Fatal(err)
	}
	var list []stages.Listed
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return list
}

// holdStage runs a script that waits until the test ends it, and returns when it
// runs. end lets it end and waits for the stage.
func (w *world) holdStage(t testing.TB, subStage, before string) (end func() string) {
	t.Helper()
	script := t.TempDir() + "/script"
	write(t, script, before+"\necho ready\nuntil [ -e /builds/go ]; do sleep 0.02; done\nrm /builds/go\necho end\n")
	out := &waiter{text: "ready\n", seen: make(chan struct{})}
	stage := w.stage(t, new(bytes.Buffer))
	stage.Stdout = out
	done := make(chan error, 1)
	go func() { done <- stage.Run(w.context(t), script, subStage) }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		w.inBuild(t, "true >/builds/go")
		if err := <-done; err != nil {
			t.Error(err)
		}
		return out.String()
	}
}

// inBuild runs a command in build of the only group, beside its stages.
func (w *world) inBuild(t testing.TB, command string) { w.inContainer(t, "build", command) }

func (w *world) inContainer(t testing.TB, container, command string) {
	t.Helper()
	live := w.server.Live()
	if len(live) != 1 {
		t.Fatalf("groups %v, want one", live)
	}
	w.inContainerOf(t, live[0], container, command)
}

// inContainerOf returns when the command has ended, or taken the container with it. Where
// the machine is slow, prepare has left the group Pending.
func (w *world) inContainerOf(t testing.TB, group, container, command string) {
	t.Helper()
	var s *eci.Stream
	err := eci.Persist(w.context(t), time.Minute, func() (err error) {
		s, err = w.stage(t, new(bytes.Buffer)).API.Exec(w.context(t), eci.ExecRequest{GroupID: group, Container: container,
			Command: []string{"sh", "-c", command + "; echo done; read -r _"}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Read(make([]byte, 10)); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// What runs is shown by job, with the stage of this host, its age by the server's
// clock, and the price.
func TestPS(t *testing.T) {
	w := newWorld(t, ecitest.Options{ClockOffset: -10 * time.Minute})
	if list := w.ps(t); len(list) != 0 {
		t.Fatalf("groups before any: %v", list)
	}
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if list := w.ps(t); len(list) != 1 || list[0].Stage != "" {
		t.Errorf("between two stages: %+v", list)
	}
	end := w.holdStage(t, "build_script", "")
	list := w.ps(t)
	if len(list) != 1 {
		t.Fatalf("%d groups, want 1", len(list))
	}
	l := list[0]
	if l.Created == nil || l.Age == nil || *l.Age > 60 || l.Cost == nil || l.Cost.Amount > 0.01 || l.Cost.Currency != "CNY" || l.Cost.PerHour != 0.441072 {
		t.Errorf("created %v, age %v, cost %+v", l.Created, l.Age, l.Cost)
	}
	l.Created, l.Age, l.Cost = nil, nil, nil
	want := stages.Listed{Group: w.server.Live()[0], Name: "ci-12-p7-j42-a0123abcd", Status: "Running", Instance: "gitlab.example.com", Runner: "12",
		Project: "7", Pipeline: "99", Job: "42", Attempt: "0123abcd", Stage: "build_script", Image: "host", CPU: 2, MemoryGiB: 4}
	if l != want {
		t.Errorf("listed %+v\nwant %+v", l, want)
	}
	var out bytes.Buffer
	if err := w.operator(t, &out, nil).PS(w.context(t), false); err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^42 +7 +build_script +Running +\d+s +host +2 +4 +- +\d\.\d{4} CNY +12 +eci-\w+$`)
	if !row.MatchString(out.String()) || strings.Contains(out.String(), "\x1b") {
		t.Errorf("table:\n%s", &out)
	}
	end()
	if list := w.ps(t); len(list) != 1 || list[0].Stage != "" {
		t.Errorf("after the stage: %+v", list)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// Another host's and runner's groups are shown with what their tags tell, and no
// price keeps ps from answering.
func TestPSOfOthers(t *testing.T) {
	refused := func(action string, _ int) ecitest.CallFault {
		if action == "DescribeContainerGroupPrice" {
			return ecitest.CallFault{Status: 403, Code: "Forbidden.RAM"}
		}
		return ecitest.CallFault{}
	}
	tests := []struct {
		name   string
		faults ecitest.Faults
		spot   bool
		cost   bool
	}{
		{name: "a price", cost: true},
		{name: "of spot", spot: true, cost: true},
		{name: "no price", faults: ecitest.Faults{Call: refused}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: tt.faults})
			if tt.spot {
				w.config.Spot = config.Spot{Strategy: "as-price-go", Duration: 1}
			}
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			here := *w.config
			w.config.StateDir = t.TempDir() // another host's
			var asked priceQuestions        // of ps alone: the last one of prepare may still be on its way
			for range 2 {
				list := w.psBy(t, func(api stages.API) stages.API { asked.API = api; return &asked })
				if len(list) != 1 || list[0].Stage != "" || list[0].Spot != tt.spot || (list[0].Cost != nil) != tt.cost {
					t.Errorf("%+v", list)
				}
				if asked.n != 1 {
					t.Errorf("%d questions for the price, want one for both", asked.n)
				}
			}
			w.config = &here
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// priceQuestions counts them.
type priceQuestions struct {
	stages.API
	n int
}

func (p *priceQuestions) DescribeContainerGroupPrice(ctx context.Context, q eci.PriceQuery) (eci.Price, error) {
	p.n++
	return p.API.DescribeContainerGroupPrice(ctx, q)
}

// A stage whose process was killed does not run.
func TestPSAfterAKill(t *testing.T) {
	w := newWorld(t, ecitest.Options{})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, w.config.StateDir+"/gitlab-example-com-j42-a0123abcd.stage.json", `{"stage": "build_script"}`)
	if list := w.ps(t); len(list) != 1 || list[0].Stage != "" {
		t.Errorf("%+v", list)
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// A server whose answers carry no date tells no ages.
func TestPSWithoutADate(t *testing.T) {
	o := stages.Operator{Config: &config.Config{StateDir: t.TempDir()}, API: &oneGroup{group: eci.Group{CreationTime: time.Unix(1, 0)}}, Clock: stages.SystemClock{}, Stdout: new(bytes.Buffer), Logger: logrus.New()}
	out := new(bytes.Buffer)
	o.Stdout = out
	if err := o.PS(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, key := range []string{"age_seconds", "cost"} {
		if v, there := list[0][key]; !there || v != nil {
			t.Errorf("%s is %v", key, v)
		}
	}
	out.Reset()
	if err := o.PS(context.Background(), false); err != nil || !slices.Contains(strings.Fields(out.String()), "7??") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What a group costs ends with the group.
func TestPSReckonsByTheServer(t *testing.T) {
	created := time.Unix(1_000_000, 0)
	tests := []struct {
		name   string
		status string
		failed time.Time
		amount float64
	}{
		{"running", "Running", time.Time{}, 100},
		{"ended", "Failed", created.Add(40 * time.Second), 40},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			api := &oneGroup{date: created.Add(100 * time.Second), group: eci.Group{CPU: 1, MemoryGiB: 1, Status: tt.status, FailedTime: tt.failed, CreationTime: created}}
			o := stages.Operator{Config: &config.Config{StateDir: t.TempDir()}, API: api, Clock: stages.SystemClock{}, Stdout: &out, Logger: logrus.New()}
			if err := o.PS(context.Background(), true); err != nil {
				t.Fatal(err)
			}
			var list []stages.Listed
			if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 1 || list[0].Cost == nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if *list[0].Age != 100 || list[0].Cost.Amount != tt.amount {
				t.Errorf("age %d s, cost %v, want %v", *list[0].Age, list[0].Cost.Amount, tt.amount)
			}
		})
	}
}

// oneGroup lists one group.
type oneGroup struct {
	stages.API
	date  time.Time
	group eci.Group
}

func (d *oneGroup) ListContainerGroups(context.Context, eci.Query) (eci.Listing, error) {
	g := d.group
	g.ID, g.Tags = "eci-1", map[string]string{"managed-by": "eci-executor", "job": "7\x1b\t"}
	return eci.Listing{Groups: []eci.Group{g}, Date: d.date}, nil
}

func (*oneGroup) DescribeContainerGroupPrice(context.Context, eci.PriceQuery) (eci.Price, error) {
	return eci.Price{PerSecond: 1, Currency: "CNY"}, nil
}
