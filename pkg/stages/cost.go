package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// Cost is what an attempt's group costs, as far as ECI has told.
type Cost struct {
	CPU       float64   `json:"cpu"` // as billed
	MemoryGiB float64   `json:"memory_gib"`
	Spot      bool      `json:"spot,omitempty"`
	Since     time.Time `json:"since"`                // from when it is billed, as nearly as polls show
	PerSecond float64   `json:"per_second,omitempty"` // 0 = not known
	Currency  string    `json:"currency,omitempty"`
}

// pricer asks for prices in the background, while prepare waits for its group anyway.
type pricer struct {
	stage *Stage
	known map[eci.PriceQuery]eci.Price      // the zero Price where ECI tells none
	asked map[eci.PriceQuery]chan eci.Price // answers that are on their way
}

// keptPrice is a price in state_dir.
type keptPrice struct {
	Asked time.Time `json:"asked"`
	Price eci.Price `json:"price"`
}

// How long a price in state_dir is good: a market price, and that ECI told none, for less.
const (
	priceGood     = 24 * time.Hour
	spotPriceGood = time.Hour
	priceLife     = 7 * 24 * time.Hour // after which its file goes: jobs may ask for thousands of sizes
)

const pricePrefix = "price-" // of the files' names

func (s *Stage) newPricer() *pricer {
	return &pricer{s, map[eci.PriceQuery]eci.Price{}, map[eci.PriceQuery]chan eci.Price{}}
}

func (p *pricer) path(q eci.PriceQuery) string {
	name := fmt.Sprintf(pricePrefix+"%s %g %g %d %s %g %d", p.stage.Config.Region, q.CPU, q.MemoryGiB,
		q.EphemeralStorageGiB, q.SpotStrategy, q.SpotPriceLimit, q.SpotDuration)
	return filepath.Join(p.stage.Config.StateDir, label(strings.ReplaceAll(name, ".", "p"))+".json")
}

// query asks for the price of a group of this size; false where the group has an ECS
// instance type, whose price has nothing to do with the size, or no size yet.
func query(spec eci.GroupSpec, cpu, memory float64) (eci.PriceQuery, bool) {
	byType := slices.ContainsFunc(spec.InstanceTypes, func(t string) bool { return strings.HasPrefix(t, "ecs.") })
	return eci.PriceQuery{CPU: cpu, MemoryGiB: memory, EphemeralStorageGiB: spec.EphemeralStorageGiB,
		SpotStrategy: spec.SpotStrategy, SpotPriceLimit: spec.SpotPriceLimit, SpotDuration: spec.SpotDuration}, !byType && cpu > 0 && memory > 0
}

// ask starts to ask for the price of a size, unless it is known or was asked for.
func (p *pricer) ask(ctx context.Context, spec eci.GroupSpec, cpu, memory float64) {
	q, ok := query(spec, cpu, memory)
	if _, known := p.known[q]; known || !ok || p.asked[q] != nil {
		return
	}
	var kept keptPrice
	if loadCache(p.path(q), &kept) {
		good := priceGood
		if q.SpotStrategy != "" || kept.Price.PerSecond == 0 {
			good = spotPriceGood
		}
		if younger(p.stage.Clock.Now(), kept.Asked, good) {
			p.known[q] = kept.Price
			return
		}
	}
	answer := make(chan eci.Price, 1)
	p.asked[q] = answer
	go func() {
		price, err := p.stage.API.DescribeContainerGroupPrice(ctx, q)
		if err != nil {
			p.stage.Logger.WithError(err).Debug("asking for the price")
		}
		if ctx.Err() == nil {
			answer <- price
		}
	}()
}

// told is the price of a size if it has come by now, else the zero Price.
func (p *pricer) told(spec eci.GroupSpec, cpu, memory float64) eci.Price {
	q, _ := query(spec, cpu, memory)
	select {
	case price := <-p.asked[q]:
		p.keep(q, price)
	default: // a nil channel never has anything
	}
	return p.known[q]
}

// wait waits for all prices that were asked for, until ctx ends.
func (p *pricer) wait(ctx context.Context) {
	for q, answer := range p.asked {
		select {
		case price := <-answer:
			p.keep(q, price)
		case <-ctx.Done():
			return
		}
	}
}

func (p *pricer) keep(q eci.PriceQuery, price eci.Price) {
	p.known[q] = price
	saveCache(p.path(q), keptPrice{p.stage.Clock.Now(), price})
}

// cost is what a running group costs that is billed since a time.
func (p *pricer) cost(spec eci.GroupSpec, group *eci.Group, since time.Time) *Cost {
	c := &Cost{CPU: group.CPU, MemoryGiB: group.MemoryGiB, Spot: spec.SpotStrategy != "", Since: since}
	price := p.told(spec, group.CPU, group.MemoryGiB)
	if slices.ContainsFunc(group.Events, func(e eci.Event) bool { return e.Reason == "SpotDegraded" }) {
		c.Spot = false
	}
	c.PerSecond = price.PerSecond
	if c.Spot {
		c.PerSecond = spotPerSecond(price.Spot, group.ZoneID)
	}
	if c.PerSecond > 0 {
		c.Currency = price.Currency
	}
	return c
}

// spotPerSecond is the highest price of a zone, as ECI does not say which of the
// instance types it took; 0 where there is none.
func spotPerSecond(prices []eci.SpotPrice, zone string) float64 {
	highest := 0.0
	for _, p := range prices {
		if p.ZoneID == zone || p.ZoneID == "" {
			highest = max(highest, p.PerHour/3600)
		}
	}
	return highest
}

// text is what the group has cost until now.
func (c *Cost) text(now time.Time) string {
	spent := max(0, now.Sub(c.Since))
	text := fmt.Sprintf("%.0f s so far, %g vCPU, %g GiB", spent.Seconds(), c.CPU, c.MemoryGiB)
	if c.Spot {
		text += ", spot"
	}
	if c.PerSecond > 0 {
		text += fmt.Sprintf(": about %.4f %s (%.4g an hour)", c.PerSecond*spent.Seconds(), c.Currency, c.PerSecond*3600)
	}
	return text
}

// tellCost writes the cost as the last line of a job's log.
func (s *Stage) tellCost(subStage string, record *Record) {
	if subStage == "cleanup_file_variables" && record.Cost != nil {
		s.printf("Container group %s: %s\n", record.GroupID, record.Cost.text(s.Clock.Now()))
	}
}

// logCost writes the final cost of a group that ends at that time to the operator's log,
// and with first to the metrics. Beyond the group's deadline nothing is counted, however
// late cleanup comes or this host's clock may be: ECI has ended the group by then.
func (s *Stage) logCost(record *Record, end time.Time, first bool) {
	if record.Cost == nil {
		return
	}
	c := record.Cost
	if !record.Expires.IsZero() && end.After(record.Expires) {
		end = record.Expires
	}
	spent := max(0, end.Sub(c.Since)).Seconds()
	fields := logrus.Fields{"job": record.Job, "group": record.GroupID, "seconds": int(spent),
		"cpu": c.CPU, "memory_gib": c.MemoryGiB, "spot": c.Spot}
	if c.PerSecond > 0 {
		fields["price"], fields["currency"] = json.Number(strconv.FormatFloat(c.PerSecond*spent, 'f', 6, 64)), c.Currency
	}
	s.Logger.WithFields(fields).Info("container group's cost")
	if first {
		s.countCost(c, spent)
	}
}
