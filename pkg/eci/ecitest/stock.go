package ecitest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Stock is what the account can have. The zero value is everything.
type Stock struct {
	Zones          []string           // of the region; nil = those of VSwitches, or the region's first three by name
	VSwitches      map[string]VSwitch // those that exist, by id; nil = any id exists, in the zone asked for or the first
	SecurityGroups map[string]string  // id -> VPC; nil = any id exists, in the vSwitch's VPC
	NotOnSale      []string           // zones
	None           []Offer            // what is out of stock
	MaxCPU         float64            // vCPU quota of a region; 0 = Switches.DefaultMaxCPU

	// Late accepts a create even where stock, addresses or quota are lacking; the group
	// then becomes ScheduleFailed, with an event.
	Late bool

	MaxImageCaches     int // quota of caches made by CreateImageCache; 0 = 500
	MaxAutoImageCaches int // quota of caches made by AutoMatchImageCache; 0 = 25
}

// VSwitch is one subnet.
type VSwitch struct {
	Zone string
	VPC  string
	IPs  int // addresses for groups; 0 = enough, -1 = none
}

// Offer names what can be bought. A field that is not set stands for all, so
// that Offer{Zone: "z"} is everything in the zone, Offer{Spot: true} every spot
// instance. InstanceType is as in a request, or such as 2-4Gi for a size by Cpu
// and Memory.
type Offer struct {
	Zone, VSwitch, InstanceType string
	Spot                        bool
}

// none tells whether something that is out of stock covers o.
func (k *Stock) none(o Offer) bool {
	return slices.ContainsFunc(k.None, func(n Offer) bool {
		return (n.Zone == "" || n.Zone == o.Zone) && (n.VSwitch == "" || n.VSwitch == o.VSwitch) &&
			(n.InstanceType == "" || n.InstanceType == o.InstanceType) && (!n.Spot || o.Spot)
	})
}

// zones are the region's: cn-hangzhou-a, ap-northeast-1a, ...
func (k *Stock) zones(region string) []string {
	if k.Zones != nil {
		return k.Zones
	}
	of := map[string]bool{}
	for _, v := range k.VSwitches {
		if v.Zone != "" {
			of[v.Zone] = true
		}
	}
	if len(of) > 0 {
		return slices.Sorted(maps.Keys(of))
	}
	if last := region[len(region)-1]; last < '0' || last > '9' {
		region += "-"
	}
	return []string{region + "a", region + "b", region + "c"}
}

// vSwitch is the one with an id; the account's default one is in the zone asked
// for, or in the first.
func (k *Stock) vSwitch(region, zone, id string) (VSwitch, bool) {
	if k.VSwitches != nil && id != defaultVSwitch {
		v, ok := k.VSwitches[id]
		return v, ok
	}
	if zone == "" {
		zone = k.zones(region)[0]
	}
	return VSwitch{Zone: zone, VPC: "vpc-default"}, true
}

// defaultVSwitch is what a group gets that names none.
const defaultVSwitch = "vsw-default"

// place chooses the group's vSwitch, zone and size, as ECI does: each vSwitch in turn, and in
// it each size in turn. With late a refusal is for lack of stock, addresses or quota, else
// the request is wrong. The caller holds mu.
func (s *Server) place(g *groupSpec) (refusal *apiError, late bool) {
	vSwitches, refusal := s.reachable(g)
	if refusal != nil {
		return refusal, false
	}
	used := s.used(g.RegionID)
	var codes []string
	for _, id := range vSwitches {
		v, _ := s.stock.vSwitch(g.RegionID, g.ZoneID, id)
		for _, size := range g.Sizes {
			code := s.available(g, id, v, size, used)
			if code == "Spot.NotMatched" && s.degrades(g) {
				if code = s.offered(id, v, size, false); code == "" {
					g.SpotDegraded = true
				}
			}
			if code == "" {
				g.VSwitchID, g.ZoneID, g.VPCID = id, v.Zone, v.VPC
				g.CPU, g.MemoryGiB = size.cpu, size.memory
				if size.named {
					g.InstanceType = size.name
				}
				return nil, false
			}
			codes = append(codes, code)
		}
		if codes[0] == "InvalidVSwitchId.IpNotEnough" && s.opts.Switches.FirstVSwitchDecides {
			break
		}
	}
	code := codes[0]
	if slices.ContainsFunc(codes, func(c string) bool { return c != code }) {
		code = "OperationDenied.NoStock"
	}
	g.CPU, g.MemoryGiB, g.VSwitchID = g.Sizes[0].cpu, g.Sizes[0].memory, vSwitches[0]
	return noCapacity(code), true
}

// degrades tells whether a spot group without stock is made as pay-as-you-go.
func (s *Server) degrades(g *groupSpec) bool {
	return s.opts.Switches.SpotDegrades && (!g.StrictSpot || s.opts.Switches.StrictSpotIgnored)
}

// reachable gives the vSwitches that fit the zone and the security group asked for.
func (s *Server) reachable(g *groupSpec) ([]string, *apiError) {
	var ids []string
	vpc := ""
	for _, id := range g.VSwitches {
		v, ok := s.stock.vSwitch(g.RegionID, g.ZoneID, id)
		switch {
		case !ok:
			return nil, &apiError{http.StatusNotFound, "InvalidVSwitchId.NotFound", "The specified VSwitchId " + id + " does not exist."}
		case vpc != "" && v.VPC != vpc:
			return nil, invalid("InvalidParameter", "the vSwitches are not all in the same VPC")
		case g.ZoneID == "" || v.Zone == g.ZoneID:
			ids = append(ids, id)
		}
		vpc = v.VPC
	}
	if !slices.Contains(s.stock.zones(g.RegionID), g.ZoneID) && g.ZoneID != "" {
		return nil, noCapacity("Zone.NotOnSale")
	}
	if len(ids) == 0 {
		return nil, forbidden("OperationDenied.VswZoneMisMatch", "The specified VSwitchId is not in the specified Zone.")
	}
	if s.stock.SecurityGroups != nil && g.SecurityGroupID != "" {
		if of, ok := s.stock.SecurityGroups[g.SecurityGroupID]; !ok || of != vpc {
			return nil, forbidden("OperationDenied.SecurityGroupMisMatch", "The specified VSwitchId and SecurityGroupId are not in the same VPC.")
		}
	}
	return ids, nil
}

// usage is what live groups hold.
type usage struct {
	cpu float64
	ips map[string]int // by vSwitch
}

// used counts a region's live groups. The caller holds mu.
func (s *Server) used(region string) usage {
	u := usage{ips: map[string]int{}}
	for _, g := range s.groups {
		g.mu.Lock()
		if !g.over() && g.spec.NoCapacity == nil && g.spec.RegionID == region {
			u.cpu += g.spec.CPU
			u.ips[g.spec.VSwitchID]++
		}
		g.mu.Unlock()
	}
	return u
}

// available is "" or the code that says why a size can't be had in a vSwitch.
func (s *Server) available(g *groupSpec, id string, v VSwitch, size size, used usage) string {
	quota := cmp.Or(s.stock.MaxCPU, s.opts.Switches.DefaultMaxCPU)
	switch {
	case quota > 0 && used.cpu+size.cpu > quota:
		return "QuotaExceeded"
	case v.IPs < 0 || v.IPs > 0 && used.ips[id] >= v.IPs:
		return "InvalidVSwitchId.IpNotEnough"
	default:
		return s.offered(id, v, size, g.SpotStrategy != "NoSpot")
	}
}

func (s *Server) offered(id string, v VSwitch, size size, spot bool) string {
	offer := Offer{Zone: v.Zone, VSwitch: id, InstanceType: size.name}
	switch {
	case slices.Contains(s.stock.NotOnSale, v.Zone):
		return "Zone.NotOnSale"
	case s.stock.none(offer):
		return "OperationDenied.NoStock"
	case spot && s.stock.none(Offer{v.Zone, id, size.name, true}):
		return "Spot.NotMatched"
	default:
		return ""
	}
}

// capacityTexts are the codes of lacking stock, addresses or quota, with the messages that
// the API's metadata has for them.
func capacityTexts() map[string]string {
	return map[string]string{
		"QuotaExceeded":                "vCPU quota exceeded.",
		"InvalidVSwitchId.IpNotEnough": "The specified VSwitch does not have enough IP addresses.",
		"Zone.NotOnSale":               "The specified zone is not available for purchase.",
		"OperationDenied.NoStock":      "Sales of this resource are temporarily suspended in the specified zone. We recommend that you use the multi-zone creation function to avoid the risk of insufficient resource.",
		"Spot.NotMatched":              "The spot instance can't be had at this price. We recommend that you use the create multi-zone function to avoid insufficient inventory.",
	}
}

func noCapacity(code string) *apiError { return forbidden(code, "%s", capacityTexts()[code]) }

func (e *apiError) lacksCapacity() bool { return capacityTexts()[e.Code] != "" }

// capacityEvent is the event's reason for a code; what ECI calls them is partly
// guessed (sources.md: events; that has the names without their causes).
func capacityEvent(code string) string {
	switch code {
	case "OperationDenied.NoStock", "Spot.NotMatched":
		return "NoStock"
	case "Zone.NotOnSale":
		return "StockClose"
	default:
		return strings.TrimPrefix(code, "InvalidVSwitchId.")
	}
}
