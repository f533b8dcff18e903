package ecitest

import (
	"cmp"
	"slices"
)

func describeContainerGroupPriceAction() action {
	return action{
		perMinute: 1000, serve: (*Server).describeContainerGroupPrice,
		params: "Cpu Memory InstanceType ZoneId SpotStrategy SpotPriceLimit SpotDuration EphemeralStorage ComputeCategory",
	}
}

// Prices of mainland China in CNY per second (sources.md: billing).
const (
	pricePerCPU        = 0.000049
	pricePerEconomyCPU = 0.000027
	pricePerGiB        = 0.00000613
	pricePerScratchGiB = 0.00000059
)

// spotShare is a spot instance's price as a share of the full one. ECI publishes
// none; the documentation's sample has 0.056 of 0.622.
const spotShare = 0.09

// describeContainerGroupPrice answers with the price per second, or as
// Switches.PricePerHour has it, and, for spot
// instances, per hour and zone. An ECS type is priced by its vCPU and memory,
// because its own price is not known here.
func (s *Server) describeContainerGroupPrice(p *params) (map[string]any, *apiError) {
	priced := p.pricedSize()
	strategy, limit := p.spotStrategy("SpotStrategy", "SpotPriceLimit", "SpotDuration")
	scratch := p.integer("EphemeralStorage", 0, 0, maxEphemeral)
	perCPU := pricePerCPU
	if p.oneOf("ComputeCategory", "general", "economy", "general") == "economy" {
		perCPU = pricePerEconomyCPU
	}
	if strategy != "NoSpot" {
		p.spotSizes([]size{priced})
	}
	if p.err != nil {
		return nil, p.err
	}
	unit := 1.0 // seconds
	if s.opts.Switches.PricePerHour {
		unit = 3600
	}
	details := []any{}
	total := 0.0 // of a second
	add := func(resource string, price float64) {
		total += price
		price *= unit
		details = append(details, map[string]any{
			"Resource": resource, "OriginalPrice": price, "DiscountPrice": 0, "TradePrice": price, "Rules": s.priceList("Rule", []any{}),
		})
	}
	if priced.named {
		add("instance_type", priced.cpu*perCPU+priced.memory*pricePerGiB)
	} else {
		add("cpu", priced.cpu*perCPU)
		add("memory", priced.memory*pricePerGiB)
	}
	if scratch > 0 {
		add("disk", float64(scratch)*pricePerScratchGiB)
	}
	spot := []any{}
	if strategy != "NoSpot" {
		if spot = s.spotPrices(p, priced, 3600*total, limit); len(spot) == 0 {
			return nil, noCapacity("Spot.NotMatched")
		}
	}
	return map[string]any{"PriceInfo": map[string]any{
		"Price": map[string]any{
			"Currency": "CNY", "OriginalPrice": total * unit, "DiscountPrice": 0, "TradePrice": total * unit, "DetailInfos": s.priceList("DetailInfo", details),
		},
		"SpotPrices": s.priceList("SpotPrice", spot), "Rules": s.priceList("Rule", []any{}),
	}}, nil
}

func (s *Server) priceList(name string, list []any) any {
	if s.opts.Switches.PriceListsFlat {
		return list
	}
	return map[string]any{name: list}
}

// pricedSize is the size asked for, which is not rounded here.
func (p *params) pricedSize() size {
	if name := p.str("InstanceType"); name != "" {
		shape, ok := ecsShape(name)
		if !ok {
			p.fail("InvalidParam.CpuOrMemorySpec", "The specified specification is invalid.")
		}
		return shape
	}
	p.required("Cpu")
	p.required("Memory")
	cpu, memory := p.float("Cpu"), p.float("Memory")
	rounded, ok := roundUp(cpu, memory)
	if !ok || rounded.cpu != cpu || rounded.memory != memory {
		p.fail("InvalidParam.CpuOrMemorySpec", "The specified specification is invalid.")
	}
	return rounded
}

// spotPrices are those of the zones where the size can be had for at most limit.
func (s *Server) spotPrices(p *params, size size, hour, limit float64) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, zone := range s.stock.zones(p.str("RegionId")) {
		if want := p.str("ZoneId"); (want != "" && want != zone) || (limit > 0 && hour*spotShare > limit) {
			continue
		}
		if !slices.Contains(s.stock.NotOnSale, zone) && !s.stock.none(Offer{Zone: zone, InstanceType: size.name, Spot: true}) {
			list = append(list, map[string]any{
				"ZoneId": zone, "InstanceType": cmp.Or(typeOfShape(size.cpu, size.memory), size.name), "OriginPrice": hour, "SpotPrice": hour * spotShare,
			})
		}
	}
	return list
}
