package ecitest

import (
	"slices"
	"strings"
)

func describeRegionsAction() action {
	return action{anyRegion: true, serve: (*Server).describeRegions}
}

// regions are those that ECI has an endpoint for (API metadata).
func regions() []string {
	return strings.Fields(`cn-qingdao cn-beijing cn-zhangjiakou cn-zhengzhou-jva cn-huhehaote cn-wulanchabu cn-hangzhou
		cn-shanghai cn-nanjing cn-fuzhou cn-shenzhen cn-heyuan cn-guangzhou cn-chengdu cn-hongkong cn-wuhan-lr
		ap-northeast-1 ap-northeast-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-5 ap-southeast-6
		ap-southeast-7 ap-south-1 us-east-1 us-west-1 eu-west-1 eu-central-1 me-east-1 me-central-1
		cn-hangzhou-finance cn-shanghai-finance-1 cn-shenzhen-finance-1 cn-beijing-finance-1`)
}

// describeRegions lists the region that is asked for, or all.
func (s *Server) describeRegions(p *params) (map[string]any, *apiError) {
	s.mu.Lock()
	stock := s.stock
	s.mu.Unlock()
	list := []any{}
	for _, id := range regions() {
		if want := p.str("RegionId"); want != "" && want != id {
			continue
		}
		recommended, unavailable := []string{}, []string{}
		zones := stock.zones(id)
		for _, zone := range zones {
			if slices.Contains(stock.NotOnSale, zone) {
				unavailable = append(unavailable, zone)
			} else if !stock.none(Offer{Zone: zone}) {
				recommended = append(recommended, zone)
			}
		}
		list = append(list, map[string]any{
			"RegionId": id, "RegionEndpoint": "eci." + id + ".aliyuncs.com",
			"Zones": zones, "RecommendZones": recommended, "UnavailableZones": unavailable,
		})
	}
	return map[string]any{"Regions": list}, nil
}
