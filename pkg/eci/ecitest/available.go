package ecitest

import (
	"slices"
	"strings"
)

func describeAvailableResourceAction() action {
	return action{serve: (*Server).describeAvailableResource, params: `ZoneId DestinationResource.Category DestinationResource.Value
		DestinationResource.Cores DestinationResource.Memory SpotResource.SpotStrategy SpotResource.SpotPriceLimit
		SpotResource.SpotDuration`}
}

// describeAvailableResource tells zone by zone whether an instance type or family
// can be had. For vCPU and memory without a type it answers with a general one of
// that shape.
func (s *Server) describeAvailableResource(p *params) (map[string]any, *apiError) {
	category := p.required("DestinationResource.Category")
	p.oneOf("DestinationResource.Category", "", "InstanceTypeFamily", "InstanceType")
	value := p.str("DestinationResource.Value")
	cores, memory := p.float("DestinationResource.Cores"), p.float("DestinationResource.Memory")
	strategy, _ := p.spotStrategy("SpotResource.SpotStrategy", "SpotResource.SpotPriceLimit", "SpotResource.SpotDuration")
	switch {
	case category == "InstanceTypeFamily" && strategy != "NoSpot":
		p.fail("InvalidParameter", "spot instances are asked for with the category InstanceType")
	case category == "InstanceTypeFamily":
		p.required("DestinationResource.Value")
	case value == "":
		p.required("DestinationResource.Cores")
		p.required("DestinationResource.Memory")
		if value = typeOfShape(cores, memory); value == "" && p.err == nil {
			p.refuse(notFound("no instance type has %g vCPU and %g GiB", cores, memory))
		}
	}
	if category == "InstanceType" {
		if _, ok := ecsShape(value); !ok && p.err == nil {
			p.refuse(notFound("there is no instance type %q", value))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	zones := s.stock.zones(p.str("RegionId"))
	if zone := p.str("ZoneId"); zone != "" {
		if !slices.Contains(zones, zone) {
			p.refuse(notFound("there is no zone %q", zone))
		}
		zones = []string{zone}
	}
	if p.err != nil {
		return nil, p.err
	}
	list, available := []any{}, false
	for _, zone := range zones {
		status := s.stock.category(zone, value, strategy != "NoSpot")
		available = available || status == "WithStock"
		list = append(list, map[string]any{
			"RegionId": p.str("RegionId"), "ZoneId": zone, "AvailableResources": map[string]any{"AvailableResource": []any{map[string]any{
				"Type": category, "SupportedResources": map[string]any{"SupportedResource": []any{map[string]any{"Value": value, "StatusCategory": status}}},
			}}},
		})
	}
	if strategy != "NoSpot" && !available {
		return nil, noCapacity("Spot.NotMatched")
	}
	return map[string]any{"AvailableZones": map[string]any{"AvailableZone": list}}, nil
}

// category is a type's stock in a zone. A family is there when any of its types
// can be; stock that runs short (ClosedWithStock) is not imitated.
func (k *Stock) category(zone, value string, spot bool) string {
	switch {
	case slices.Contains(k.NotOnSale, zone):
		return "ClosedWithoutStock"
	case k.none(Offer{Zone: zone, InstanceType: value, Spot: spot}):
		return "WithoutStock"
	default:
		return "WithStock"
	}
}

// typeOfShape is an ECS type with vCPU and memory in the ratio of a family.
func typeOfShape(cores, memory float64) string {
	for family := range strings.FieldsSeq("c6 g6 r6") {
		for name := range strings.FieldsSeq("large xlarge 2xlarge 3xlarge 4xlarge 6xlarge 8xlarge 13xlarge 16xlarge") {
			if s, ok := ecsShape("ecs." + family + "." + name); ok && s.cpu == cores && s.memory == memory {
				return s.name
			}
		}
	}
	return ""
}
