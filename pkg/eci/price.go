package eci

import (
	"context"
	"encoding/json"
	"fmt"
)

// PriceQuery is a size of which the price is asked; it must be one of ECI's table. Prices of
// instance types are not asked: nobody documents whether they are an hour's.
type PriceQuery struct {
	CPU                 float64 // vCPU
	MemoryGiB           float64
	EphemeralStorageGiB int
	SpotStrategy        string // this and what follows as in GroupSpec
	SpotPriceLimit      float64
	SpotDuration        int
}

// Price is what a group costs.
type Price struct {
	PerSecond float64 // pay-as-you-go, after discounts; 0 = not told
	Currency  string  // CNY or USD
	Spot      []SpotPrice
}

// SpotPrice is the market price of an instance type in a zone.
type SpotPrice struct {
	ZoneID       string
	InstanceType string
	PerHour      float64
}

// perSecond is the price of a second. Nobody documents whether TradePrice is that or the
// price of an hour. In the documentation's sample it is a second's: 0.00012252 for 2 vCPU
// and 4 GiB is 2 x 0.000049 + 4 x 0.00000613, the prices of the billing page in CNY
// (sources.md: price, billing). An hour's price is 3600 times that, and still some 560 times
// where it is in USD. So a price of more than 60 times the billing page's, about the middle
// between 1 and 3600, is taken to be an hour's, whatever the currency and the discount.
func (q PriceQuery) perSecond(tradePrice float64) float64 {
	const cpu, memory, disk, middle = 0.000049, 0.00000613, 0.00000059, 60
	if tradePrice > middle*(q.CPU*cpu+q.MemoryGiB*memory+float64(q.EphemeralStorageGiB)*disk) {
		return tradePrice / 3600
	}
	return tradePrice
}

// DescribeContainerGroupPrice returns the price of a group of the size. SpotPrice is
// an hour's in the documentation's sample (sources.md: price).
func (c *Client) DescribeContainerGroupPrice(ctx context.Context, q PriceQuery) (Price, error) {
	params := Params{}
	params.number("Cpu", q.CPU)
	params.number("Memory", q.MemoryGiB)
	params.integer("EphemeralStorage", int64(q.EphemeralStorageGiB))
	params.spot(q.SpotStrategy, q.SpotPriceLimit, q.SpotDuration)
	var answer struct {
		PriceInfo struct {
			Price struct {
				TradePrice float64
				Currency   string
			}
			SpotPrices json.RawMessage
		}
	}
	what := fmt.Sprintf("%g vCPU, %g GiB", q.CPU, q.MemoryGiB)
	if err := c.do(ctx, call{"DescribeContainerGroupPrice", "ask the price of", what, params}, &answer); err != nil {
		return Price{}, err
	}
	info := answer.PriceInfo
	return Price{PerSecond: q.perSecond(info.Price.TradePrice), Currency: info.Price.Currency, Spot: spotPrices(info.SpotPrices)}, nil
}

// spotPrices reads a list, or an object around it: the documentation shows both.
// What is neither is no price.
func spotPrices(text json.RawMessage) []SpotPrice {
	type entry struct {
		ZoneId, InstanceType string
		SpotPrice            float64
	}
	var list []entry
	if json.Unmarshal(text, &list) != nil {
		var around struct{ SpotPrice []entry }
		if json.Unmarshal(text, &around) != nil {
			return nil
		}
		list = around.SpotPrice
	}
	var prices []SpotPrice
	for _, e := range list {
		prices = append(prices, SpotPrice{e.ZoneId, e.InstanceType, e.SpotPrice})
	}
	return prices
}
