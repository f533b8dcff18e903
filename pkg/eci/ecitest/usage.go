package ecitest

import "cmp"

func listUsageAction() action {
	return action{serve: (*Server).listUsage}
}

// sampleCPU is shown as quota where there is none; the number is the
// documentation's sample.
const sampleCPU = 1000

// listUsage shows what is used of the region's quotas.
func (s *Server) listUsage(p *params) (map[string]any, *apiError) {
	region := p.str("RegionId")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireCaches()
	caches := map[bool]int{}
	for _, c := range s.caches {
		if c.region == region {
			caches[c.auto]++
		}
	}
	most := cmp.Or(s.stock.MaxCPU, s.opts.Switches.DefaultMaxCPU, sampleCPU)
	return map[string]any{"Attributes": map[string]any{
		"UsedCpu": s.used(region).cpu, "MaxCpu": most,
		"UsedImageCacheCount": caches[false], "MaxImageCacheCount": s.stock.cacheQuota(false),
		"UsedAutoImageCacheCount": caches[true], "MaxAutoImageCacheCount": s.stock.cacheQuota(true),
		"UsedDataCacheCount": 0, "MaxDataCacheCount": 100,
	}}, nil
}
