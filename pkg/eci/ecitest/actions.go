package ecitest

// action is one action of the API.
type action struct {
	params    string // its own parameters, with N for the number of a repeated one
	refused   string // documented ones that this server does not imitate: beginnings of names
	perMinute int    // documented limit of calls (sources.md: limits); 0 = none is published
	anyRegion bool   // RegionId may be absent
	serve     func(*Server, *params) (map[string]any, *apiError)
}

// allActions are those that this server has; each stands in its own file.
func allActions() map[string]action {
	return map[string]action{
		"CreateContainerGroup":         createContainerGroupAction(),
		"DeleteContainerGroup":         deleteContainerGroupAction(),
		"DescribeContainerGroups":      describeContainerGroupsAction(),
		"DescribeContainerGroupStatus": describeContainerGroupStatusAction(),
		"DescribeContainerGroupEvents": describeContainerGroupEventsAction(),
		"DescribeContainerLog":         describeContainerLogAction(),
		"ExecContainerCommand":         execContainerCommandAction(),
		"CreateImageCache":             createImageCacheAction(),
		"DescribeImageCaches":          describeImageCachesAction(),
		"UpdateImageCache":             updateImageCacheAction(),
		"DeleteImageCache":             deleteImageCacheAction(),
		"DescribeContainerGroupPrice":  describeContainerGroupPriceAction(),
		"DescribeRegions":              describeRegionsAction(),
		"DescribeAvailableResource":    describeAvailableResourceAction(),
		"ListUsage":                    listUsageAction(),
	}
}
