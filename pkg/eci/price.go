package eci

import (
	"context"
	"encoding/json"
	"fmt"
)

// PriceQuery is what a price is asked for, by size: nothing says of which time the
// price of an instance type is. The size must be of ECI's table.
type PriceQuery struct {
	CPU                 float64 // vCPU
	MemoryGiB           float64
	EphemeralStorageGiB int
	SpotStrategy        string // as of GroupSpec
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

// DescribeContainerGroupPrice returns the price of a group of the size. That
// TradePrice is a second's and SpotPrice an hour's is read off the documentation's
// sample: its 0.00012252 for 2 vCPU and 4 GiB is 2 x 0.000049 + 4 x 0.00000613,
// the prices a second of the billing page (API page X1, B1).
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
	return Price{PerSecond: info.Price.TradePrice, Currency: info.Price.Currency, Spot: spotPrices(info.SpotPrices)}, nil
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
