package stages

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Listed is one group as ps shows it, and the JSON of ps --json.
type Listed struct {
	Group     string     `json:"group"`
	Name      string     `json:"name"`
	Status    string     `json:"status"`
	Instance  string     `json:"instance"`
	Runner    string     `json:"runner"`
	Project   string     `json:"project"` // its id
	Pipeline  string     `json:"pipeline"`
	Job       string     `json:"job"` // its id
	Attempt   string     `json:"attempt"`
	Stage     string     `json:"stage"`      // that runs on this host; "" between two, and where another host runs it
	KeptUntil *time.Time `json:"kept_until"` // of a failed job, by this host; null where it is not
	Image     string     `json:"image"`      // of build
	CPU       float64    `json:"cpu"`
	MemoryGiB float64    `json:"memory_gib"`
	Spot      bool       `json:"spot"`
	Created   *time.Time `json:"created"`     // null where ECI tells none
	Age       *int64     `json:"age_seconds"` // by the server's clock; null where it tells none
	Cost      *Spent     `json:"cost"`        // null where no price is known
}

// Spent is what a group has cost so far, or altogether when it has ended.
type Spent struct {
	Amount   float64 `json:"amount"`
	Currency string  `json:"currency"`
	PerHour  float64 `json:"per_hour"`
}

// pricesLimit is how long ps waits for prices that no file of state_dir has.
const pricesLimit = 3 * time.Second

// PS lists the driver's groups in the region, those of other runners and hosts
// too, as a table or as a JSON array. A price that can't be had is left out.
func (o *Operator) PS(ctx context.Context, asJSON bool) error {
	groups, now, err := o.own(ctx, eci.Query{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pricesLimit)
	defer cancel()
	prices := o.stage().newPricer()
	for i := range groups {
		if r, _ := o.known(&groups[i]); r.Cost == nil {
			prices.ask(ctx, sized(&groups[i]), groups[i].CPU, groups[i].MemoryGiB)
		}
	}
	prices.wait(ctx)
	list := []Listed{} // never null
	for i := range groups {
		list = append(list, o.listed(&groups[i], prices, now))
	}
	if asJSON {
		encoder := json.NewEncoder(o.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	}
	return o.table(list)
}

// sized is as much of a group's specification as its price depends on.
func sized(g *eci.Group) eci.GroupSpec {
	spec := eci.GroupSpec{InstanceTypes: []string{g.InstanceType}}
	if isSpot(g) {
		spec.SpotStrategy = "SpotAsPriceGo" // the market price, whatever the group's limit, which is not told
	}
	return spec
}

func isSpot(g *eci.Group) bool { return g.SpotStrategy != "" && g.SpotStrategy != "NoSpot" }

func (o *Operator) listed(g *eci.Group, prices *pricer, now time.Time) Listed {
	record, stage := o.known(g)
	l := Listed{
		Group: g.ID, Name: g.Name, Status: g.Status, Instance: g.Tags[tagInstance], Runner: g.Tags[tagRunner],
		Project: g.Tags[tagProject], Pipeline: g.Tags[tagPipeline], Job: g.Tags[tagJob], Attempt: g.Tags[tagAttempt],
		Stage: stage.Stage, CPU: g.CPU, MemoryGiB: g.MemoryGiB, Spot: isSpot(g),
	}
	if build := g.Container(buildContainer); build != nil {
		l.Image = build.Image
	}
	if record.Kept && record.Over.IsZero() {
		until := record.KeepUntil.UTC()
		l.KeptUntil = &until
	}
	if g.CreationTime.IsZero() {
		return l
	}
	l.Created = &g.CreationTime
	if now.IsZero() {
		return l
	}
	seconds := int64(age(now, g.CreationTime).Seconds())
	l.Age = &seconds
	l.Cost = spent(g, &record, prices, now)
	return l
}

// spent is what a group has cost until now, by ECI's clock alone; nil where no price is
// known. A group of which this host has no record counts from its creation.
func spent(g *eci.Group, record *Record, prices *pricer, now time.Time) *Spent {
	cost, since := record.Cost, g.CreationTime
	if cost == nil {
		cost = prices.cost(sized(g), g, since)
	} else {
		since = since.Add(max(0, cost.Since.Sub(record.Created)))
	}
	if cost.PerSecond == 0 {
		return nil
	}
	if g.Terminal() {
		now = endOf(g)
	}
	amount := cost.PerSecond * max(0, now.Sub(since)).Seconds()
	return &Spent{micro(amount), cost.Currency, micro(cost.PerSecond * 3600)}
}

// micro rounds an amount of money to millionths.
func micro(amount float64) float64 { return math.Round(amount*1e6) / 1e6 }

func (o *Operator) table(list []Listed) error {
	if len(list) == 0 {
		_, err := fmt.Fprintf(o.Stdout, "No container groups of %s in %s\n", DriverName, o.Config.Region)
		return err
	}
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tPROJECT\tSTAGE\tSTATUS\tAGE\tIMAGE\tCPU\tGIB\tSPOT\tCOST\tRUNNER\tGROUP") //nolint:errcheck // Flush tells
	for _, l := range list {
		stage, spot, old, cost := l.Stage, "-", "?", "-"
		if l.KeptUntil != nil {
			stage = "kept until " + l.KeptUntil.Format(hourLayout)
		}
		if l.Spot {
			spot = "spot"
		}
		if l.Age != nil {
			old = (time.Duration(*l.Age) * time.Second).String()
		}
		if l.Cost != nil {
			cost = fmt.Sprintf("%.4f %s", l.Cost.Amount, l.Cost.Currency)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%g\t%g\t%s\t%s\t%s\t%s\n", cell(l.Job, "?"), cell(l.Project, "?"), cell(stage, "-"), //nolint:errcheck // Flush tells
			cell(l.Status, "?"), old, cell(l.Image, "?"), l.CPU, l.MemoryGiB, spot, cost, cell(l.Runner, "?"), l.Group)
	}
	return w.Flush()
}

// cell is text for a column of a table, or another text where it is empty.
func cell(text, otherwise string) string { return cmp.Or(clean(text), otherwise) }

// clean makes text fit for a terminal: anybody may have written the tags and events.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
