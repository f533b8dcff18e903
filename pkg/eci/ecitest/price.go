package ecitest

// Prices in CNY of the billing page (eci-api.md, 6): a second of a vCPU and of a GiB.
const (
	cpuSecond = 0.000049
	gibSecond = 0.00000613
)

// describeContainerGroupPrice knows no difference between instance types; the
// spot price, of an hour, is a tenth.
func (s *Server) describeContainerGroupPrice(p *params) (map[string]any, *apiError) {
	cpu, memory := p.float("Cpu"), p.float("Memory")
	strategy := p.oneOf("SpotStrategy", "NoSpot", "NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit")
	p.integer("EphemeralStorage", 0, 0)
	if p.err == nil && p.str("InstanceType") == "" {
		if c, m, ok := roundUp(cpu, memory); !ok || c != cpu || m != memory {
			p.fail("InvalidParameter.CPU.Memory", "%g vCPU and %g GiB are not a size of the table", cpu, memory)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	second := cpu*cpuSecond + memory*gibSecond
	info := map[string]any{"Price": map[string]any{"OriginalPrice": second, "DiscountPrice": 0, "TradePrice": second, "Currency": "CNY"}}
	if strategy != "NoSpot" {
		info["SpotPrices"] = map[string]any{"SpotPrice": []any{map[string]any{
			"ZoneId": p.str("ZoneId"), "InstanceType": p.str("InstanceType"), "SpotPrice": second * 360, "OriginPrice": second * 3600,
		}}}
	}
	return map[string]any{"PriceInfo": info}, nil
}
