package ecitest

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

func describeContainerGroupsAction() action {
	return action{
		perMinute: 2000, serve: (*Server).describeContainerGroups,
		params: filterParams + " ContainerGroupName Status SecurityGroupId ComputeCategory WithEvent",
	}
}

// filterParams are those of all three actions that describe groups.
const filterParams = `ContainerGroupIds Tag.N.Key Tag.N.Value ZoneId VSwitchId ResourceGroupId Limit NextToken`

// maxIDs is how many ids a describe call takes.
const maxIDs = 20

// describeLimit is default and greatest Limit of DescribeContainerGroups.
const describeLimit = 20

// page answers a describe call's filters with one page of the region's groups,
// oldest first, the token of the next page ("" on the last) and the total. An id
// that is not known is left out.
func (s *Server) page(p *params, limit int64) (page []*group, next string, total int) {
	var ids []string
	if v := p.str("ContainerGroupIds"); v != "" {
		if err := json.Unmarshal([]byte(v), &ids); err != nil {
			p.fail("InvalidParameter", "ContainerGroupIds is not a JSON array of strings: %v", err)
		}
		if len(ids) > maxIDs {
			p.fail("InvalidParameter.ValueExceeded", "ContainerGroupIds has %d ids, at most %d are allowed", len(ids), maxIDs)
		}
	}
	tags := p.tags()
	n := p.integer("Limit", limit, 1, limit)
	after := p.nextToken()
	since := time.Duration(p.integer("SinceSecond", 0, 0, maxInt32)) * time.Second
	if p.err != nil {
		return nil, "", 0
	}
	s.prune()
	for _, g := range s.sortedGroups() {
		if !g.matches(p, ids, tags, since) {
			continue
		}
		total++
		switch {
		case g.seq <= after:
		case int64(len(page)) < n:
			page = append(page, g)
		case next == "":
			next = pageToken(page[len(page)-1].seq)
		}
	}
	if code := s.opts.Switches.UnknownIDOnDescribe; code != "" && len(ids) > 0 && total == 0 {
		p.fail(code, "none of the container groups exists: %s", ids)
	}
	return page, next, total
}

// pageToken hides the last number of a page, because ECI's tokens tell nothing.
func pageToken(last int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("after/" + strconv.Itoa(last)))
}

func (p *params) nextToken() int {
	v := p.str("NextToken")
	if v == "" {
		return 0
	}
	text, err := base64.RawURLEncoding.DecodeString(v)
	number, ok := strings.CutPrefix(string(text), "after/")
	last, atoiErr := strconv.Atoi(number)
	if err != nil || !ok || atoiErr != nil || last < 0 {
		p.fail("InvalidParameter", "NextToken %q is not one that an answer gave", v)
	}
	return last
}

func (g *group) matches(p *params, ids []string, tags []tag, since time.Duration) bool {
	if g.spec.RegionID != p.str("RegionId") || g.hidden() {
		return false
	}
	if ids != nil && !slices.Contains(ids, g.id) {
		return false
	}
	if !hasTags(g.spec.Tags, tags) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, value := range map[string]string{
		"ContainerGroupName": g.spec.Name, "Status": g.status(), "ZoneId": g.spec.ZoneID, "VSwitchId": g.spec.VSwitchID,
		"SecurityGroupId": g.spec.SecurityGroupID, "ResourceGroupId": g.spec.ResourceGroupID, "ComputeCategory": g.spec.ComputeCategory,
	} {
		if want := p.str(name); want != "" && want != value {
			return false
		}
	}
	return since == 0 || time.Since(g.modified) <= since
}

// hasTags tells whether each wanted tag is there; one without a value fits any.
func hasTags(have, want []tag) bool {
	for _, t := range want {
		if !slices.ContainsFunc(have, func(o tag) bool { return o.Key == t.Key && (t.Value == "" || o.Value == t.Value) }) {
			return false
		}
	}
	return true
}

func (s *Server) describeContainerGroups(p *params) (map[string]any, *apiError) {
	withEvents := p.boolean("WithEvent", false)
	p.oneOf("ComputeCategory", "", "economy", "general")
	page, next, total := s.page(p, describeLimit)
	if p.err != nil {
		return nil, p.err
	}
	groups := []any{}
	for _, g := range page {
		groups = append(groups, g.describe(withEvents))
	}
	return map[string]any{"ContainerGroups": groups, "NextToken": next, "TotalCount": total}, nil
}

// stamp is a time as answers show it.
func (s *Server) stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Add(s.opts.ClockOffset).UTC().Format(time.RFC3339)
}

// describe is one entry of DescribeContainerGroups.
func (g *group) describe(withEvents bool) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	containers := []any{}
	for _, c := range g.containers {
		containers = append(containers, c.describe())
	}
	spec := g.spec
	d := map[string]any{
		"ContainerGroupId": g.id, "ContainerGroupName": spec.Name, "Status": g.status(), "RegionId": spec.RegionID,
		"ZoneId": spec.ZoneID, "VpcId": spec.VPCID, "VSwitchId": spec.VSwitchID, "SecurityGroupId": spec.SecurityGroupID,
		"IntranetIp": localIP, "EniInstanceId": "eni" + strings.TrimPrefix(g.id, "eci"),
		"Cpu": spec.CPU, "Memory": spec.MemoryGiB, "InstanceType": spec.InstanceType,
		"RestartPolicy": spec.RestartPolicy, "SpotStrategy": g.spotStrategy(), "SpotPriceLimit": spec.SpotPriceLimit,
		"EphemeralStorage": spec.EphemeralStorage, "ResourceGroupId": spec.ResourceGroupID, "RamRoleName": spec.RAMRole,
		"ComputeCategory": spec.ComputeCategory, "CreationTime": g.s.stamp(g.created),
		"Containers": containers, "InitContainers": []any{}, "Tags": tagList(spec.Tags), "Volumes": g.describeVolumes(),
		"HostAliases": g.describeHosts(), "DnsPolicy": spec.DNS.Policy, "DnsConfig": map[string]any{
			"NameServers": spec.DNS.NameServers, "Searches": spec.DNS.Searches, "Options": nameList(spec.DNS.Options),
		},
		"EciSecurityContext": map[string]any{"Sysctls": nameList(spec.Sysctls)},
	}
	if spec.PublicAddress {
		d["InternetIp"] = publicIP
	}
	if field := map[string]string{"Succeeded": "SucceededTime", "Failed": "FailedTime", "Expired": "ExpiredTime"}[g.phase]; field != "" {
		d[field] = g.s.stamp(g.finished)
	}
	if withEvents {
		d["Events"] = g.describeEvents()
	}
	return d
}

// publicIP is shown for a group with an EIP: an address of the documentation's
// block, because none leads to it.
const publicIP = "203.0.113.1"

func (g *group) spotStrategy() string {
	if g.spec.SpotDegraded {
		return "NoSpot"
	}
	return g.spec.SpotStrategy
}

func tagList(tags []tag) []any {
	list := []any{}
	for _, t := range tags {
		list = append(list, map[string]any{"Key": t.Key, "Value": t.Value})
	}
	return list
}

func nameList(pairs []tag) []any {
	list := []any{}
	for _, t := range pairs {
		list = append(list, map[string]any{"Name": t.Key, "Value": t.Value})
	}
	return list
}

func (g *group) describeHosts() []any {
	list := []any{}
	for ip, names := range g.spec.Hosts {
		list = append(list, map[string]any{"Ip": ip, "Hostnames": names})
	}
	return list
}

func (g *group) describeEvents() []any {
	list := []any{}
	for _, e := range g.events {
		list = append(list, g.s.describeEvent(e))
	}
	return list
}

func (s *Server) describeEvent(e event) map[string]any {
	return map[string]any{
		"Type": e.Type, "Reason": e.Reason, "Name": e.Name, "Message": e.Message, "Count": e.Count,
		"FirstTimestamp": s.stamp(e.First), "LastTimestamp": s.stamp(e.Last),
	}
}

func (g *group) describeVolumes() []any {
	list := []any{}
	for _, v := range g.spec.Volumes {
		d := map[string]any{"Type": v.Type, "Name": v.Name}
		switch v.Type {
		case "NFSVolume":
			d["NFSVolumeServer"], d["NFSVolumePath"], d["NFSVolumeReadOnly"] = v.Server, v.Path, v.ReadOnly
		case "FlexVolume":
			d["FlexVolumeDriver"], d["FlexVolumeOptions"] = v.Driver, v.FlexOptions
		case "EmptyDirVolume":
			d["EmptyDirVolumeMedium"], d["EmptyDirVolumeSizeLimit"] = v.Medium, v.SizeLimit
		case "ConfigFileVolume":
			files := []any{}
			for _, f := range v.Files {
				files = append(files, map[string]any{"Path": f.Path, "Content": f.Content}) // base64 again by encoding/json
			}
			d["ConfigFileVolumeConfigFileToPaths"] = files
		}
		list = append(list, d)
	}
	return list
}

// describe is one entry of Containers. The caller holds g.mu.
func (c *container) describe() map[string]any {
	env, mounts, ports := []any{}, []any{}, []any{}
	for _, e := range c.spec.Env {
		if c.spec.HideEnv {
			e.Value = ""
		}
		env = append(env, map[string]any{"Key": e.Key, "Value": e.Value})
	}
	for _, m := range c.spec.Mounts {
		mounts = append(mounts, map[string]any{"Name": m.Volume, "MountPath": m.Path, "SubPath": m.SubPath,
			"ReadOnly": m.ReadOnly, "MountPropagation": m.Propagation})
	}
	for _, port := range c.spec.Ports {
		ports = append(ports, map[string]any{"Port": port.Port, "Protocol": port.Protocol})
	}
	d := map[string]any{
		"Name": c.spec.Name, "Image": c.spec.Image, "ImagePullPolicy": c.spec.PullPolicy, "WorkingDir": c.spec.WorkingDir,
		"Cpu": c.spec.CPU, "Memory": c.spec.MemoryGiB, "Gpu": c.spec.GPU, "Commands": c.spec.Command, "Args": c.spec.Args,
		"Stdin": c.spec.Stdin, "StdinOnce": c.spec.StdinOnce, "Tty": c.spec.TTY, "Ports": ports,
		"EnvironmentVars": env, "VolumeMounts": mounts, "Ready": c.current.State == "Running", "RestartCount": c.restarts,
		"SecurityContext": c.describeSecurity(), "CurrentState": c.describeState(c.current),
	}
	if c.previous != nil {
		d["PreviousState"] = c.describeState(*c.previous)
	}
	return d
}

func (c *container) describeSecurity() map[string]any {
	d := map[string]any{"Capability": map[string]any{"Adds": c.spec.Capabilities}}
	if n, err := strconv.Atoi(c.spec.User); err == nil {
		d["RunAsUser"] = n
	}
	return d
}

func (c *container) describeState(state containerState) map[string]any {
	d := map[string]any{"State": state.State, "Reason": state.Reason, "DetailStatus": state.Reason, "Message": c.message(state),
		"StartTime": c.g.s.stamp(state.Start), "FinishTime": c.g.s.stamp(state.Finish)}
	if state.State == "Terminated" || !c.g.s.opts.Switches.NoExitCodeFields {
		d["ExitCode"], d["Signal"] = state.ExitCode, state.Signal
	}
	return d
}

// message is a state's message; those of ended containers have 12 KB per group,
// in equal shares as under the kubelet.
func (c *container) message(state containerState) string {
	if share := maxMessages / len(c.g.containers); state.State == "Terminated" && len(state.Message) > share {
		return state.Message[:share]
	}
	return state.Message
}
