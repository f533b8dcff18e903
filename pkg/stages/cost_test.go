package stages

import (
	"math"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci"
)

// TestCostText: a figure that is not known is left out, and no clock makes one
// that is less than nothing.
func TestCostText(t *testing.T) {
	since := time.Unix(1_790_000_000, 0)
	tests := []struct {
		name string
		cost Cost
		now  time.Time
		want string
	}{
		{"known", Cost{CPU: 2, MemoryGiB: 4, Since: since, PerSecond: 0.00012252, Currency: "CNY"}, since.Add(83 * time.Second),
			"83 s so far, 2 vCPU, 4 GiB: about 0.0102 CNY (0.4411 an hour)"},
		{"spot", Cost{CPU: 0.5, MemoryGiB: 1, Spot: true, Since: since, PerSecond: 0.00001, Currency: "USD"}, since.Add(time.Hour),
			"3600 s so far, 0.5 vCPU, 1 GiB, spot: about 0.0360 USD (0.036 an hour)"},
		{"no price", Cost{CPU: 2, MemoryGiB: 4, Since: since}, since.Add(time.Second), "1 s so far, 2 vCPU, 4 GiB"},
		{"a clock that was set back", Cost{CPU: 2, MemoryGiB: 4, Since: since, PerSecond: 1, Currency: "CNY"}, since.Add(-time.Hour),
			"0 s so far, 2 vCPU, 4 GiB: about 0.0000 CNY (3600 an hour)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.cost.text(tt.now); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSpotPrice(t *testing.T) {
	prices := []eci.SpotPrice{{ZoneID: "a", InstanceType: "x", PerHour: 0.36}, {ZoneID: "a", InstanceType: "y", PerHour: 0.72}, {ZoneID: "b", PerHour: 9}}
	for zone, want := range map[string]float64{"a": 0.0002, "b": 0.0025, "c": 0, "": 0} {
		if got := spotPerSecond(prices, zone); math.Abs(got-want) > 1e-12 {
			t.Errorf("zone %q: %g, want %g", zone, got, want)
		}
	}
}
