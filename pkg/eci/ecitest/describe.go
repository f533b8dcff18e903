package ecitest

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// maxIDs is how many ids a describe call takes.
const maxIDs = 20

// sizeOfPages: default and greatest Limit of the describe actions.
const (
	describeLimit = 20
	statusLimit   = 200
)

// page answers a describe call's filters with one page of groups, oldest first,
// the token of the next page ("" on the last) and the total.
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
	n := p.integer("Limit", limit, 1)
	if n > limit {
		p.fail("InvalidParameter", "Limit is %d, at most %d are allowed", n, limit)
	}
	after := p.integer("NextToken", 0, 0)
	since := time.Duration(p.integer("SinceSecond", 0, 0)) * time.Second
	if p.err != nil {
		return nil, "", 0
	}
	for _, g := range s.sortedGroups() {
		if !g.matches(p, ids, tags, since) {
			continue
		}
		total++
		switch {
		case int64(g.seq) <= after:
		case int64(len(page)) < n:
			page = append(page, g)
		case next == "":
			next = strconv.Itoa(page[len(page)-1].seq)
		}
	}
	if code := s.opts.Switches.UnknownIDOnDescribe; code != "" && len(ids) > 0 && total == 0 {
		p.fail(code, "none of the container groups exists: %s", ids)
	}
	return page, next, total
}

func (g *group) matches(p *params, ids []string, tags []tag, since time.Duration) bool {
	if g.hidden() {
		return false
	}
	if ids != nil && !slices.Contains(ids, g.id) {
		return false
	}
	for _, t := range tags {
		if !slices.ContainsFunc(g.spec.Tags, func(o tag) bool { return o.Key == t.Key && (t.Value == "" || o.Value == t.Value) }) {
			return false
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, value := range map[string]string{
		"ContainerGroupName": g.spec.Name, "Status": g.status(), "VSwitchId": g.spec.VSwitchID,
		"SecurityGroupId": g.spec.SecurityGroupID,
	} {
		if want := p.str(name); want != "" && want != value {
			return false
		}
	}
	return since == 0 || time.Since(g.modified) <= since
}

func (s *Server) describeContainerGroups(p *params) (map[string]any, *apiError) {
	withEvents := p.boolean("WithEvent", false)
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

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// describe is one entry of DescribeContainerGroups.
func (g *group) describe(withEvents bool) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	containers := []any{}
	for _, c := range g.containers {
		containers = append(containers, c.describe())
	}
	d := map[string]any{
		"ContainerGroupId": g.id, "ContainerGroupName": g.spec.Name, "Status": g.status(), "RegionId": g.spec.RegionID,
		"ZoneId": g.spec.ZoneID, "VSwitchId": g.spec.VSwitchID, "SecurityGroupId": g.spec.SecurityGroupID,
		"IntranetIp": localIP, "Cpu": g.spec.CPU, "Memory": g.spec.MemoryGiB, "InstanceType": g.spec.InstanceType,
		"RestartPolicy": g.spec.RestartPolicy, "SpotStrategy": g.spec.SpotStrategy, "CreationTime": stamp(g.created),
		"Containers": containers, "InitContainers": []any{}, "Tags": tagList(g.spec.Tags), "Volumes": g.describeVolumes(),
		"HostAliases": g.describeHosts(),
	}
	switch g.phase {
	case "Succeeded":
		d["SucceededTime"] = stamp(g.finished)
	case "Failed":
		d["FailedTime"] = stamp(g.finished)
	case "Expired":
		d["ExpiredTime"] = stamp(g.finished)
	}
	if withEvents {
		d["Events"] = g.describeEvents()
	}
	return d
}

func tagList(tags []tag) []any {
	list := []any{}
	for _, t := range tags {
		list = append(list, map[string]any{"Key": t.Key, "Value": t.Value})
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
		list = append(list, map[string]any{
			"Type": e.Type, "Reason": e.Reason, "Name": e.Name, "Message": e.Message, "Count": e.Count,
			"FirstTimestamp": stamp(e.First), "LastTimestamp": stamp(e.Last),
		})
	}
	return list
}

func (g *group) describeVolumes() []any {
	list := []any{}
	for _, v := range g.spec.Volumes {
		d := map[string]any{"Type": v.Type, "Name": v.Name}
		switch v.Type {
		case "NFSVolume":
			d["NFSVolumeServer"], d["NFSVolumePath"], d["NFSVolumeReadOnly"] = v.Server, v.Path, v.ReadOnly
		case "FlexVolume":
			d["FlexVolumeDriver"], d["FlexVolumeOptions"] = "alicloud/nas", v.FlexOptions
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
	env, mounts := []any{}, []any{}
	for _, e := range c.spec.Env {
		if c.spec.HideEnv {
			e.Value = ""
		}
		env = append(env, map[string]any{"Key": e.Key, "Value": e.Value})
	}
	for _, m := range c.spec.Mounts {
		mounts = append(mounts, map[string]any{"Name": m.Volume, "MountPath": m.Path, "SubPath": m.SubPath, "ReadOnly": m.ReadOnly})
	}
	d := map[string]any{
		"Name": c.spec.Name, "Image": c.spec.Image, "ImagePullPolicy": c.spec.PullPolicy, "WorkingDir": c.spec.WorkingDir,
		"Cpu": c.spec.CPU, "Memory": c.spec.MemoryGiB, "Commands": c.spec.Command, "Args": c.spec.Args,
		"EnvironmentVars": env, "VolumeMounts": mounts, "Ready": c.current.State == "Running", "RestartCount": c.restarts,
		"CurrentState": c.current.describe(c.g.s.opts.Switches.NoExitCodeFields),
	}
	if c.previous != nil {
		d["PreviousState"] = c.previous.describe(false)
	}
	return d
}

func (s containerState) describe(noExitCode bool) map[string]any {
	d := map[string]any{"State": s.State, "Reason": s.Reason, "DetailStatus": s.Reason, "Message": s.Message, "StartTime": stamp(s.Start), "FinishTime": stamp(s.Finish)}
	if s.State == "Terminated" || !noExitCode {
		d["ExitCode"], d["Signal"] = s.ExitCode, s.Signal
	}
	return d
}

// describeContainerGroupStatus is the cheap polling call.
func (s *Server) describeContainerGroupStatus(p *params) (map[string]any, *apiError) {
	page, next, total := s.page(p, statusLimit)
	if p.err != nil {
		return nil, p.err
	}
	data := []any{}
	for _, g := range page {
		data = append(data, g.podStatus())
	}
	return map[string]any{"Data": data, "NextToken": next, "TotalCount": total}, nil
}

// podStatus is a group as Kubernetes sees it.
func (g *group) podStatus() map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	phase := g.status()
	switch phase {
	case "Scheduling", "Restarting":
		phase = "Pending"
	case "Terminating":
		phase = "Running"
	}
	statuses := []any{}
	for _, c := range g.containers {
		st := map[string]any{
			"Name": c.spec.Name, "Image": c.spec.Image, "Ready": c.current.State == "Running", "RestartCount": c.restarts,
			"Started": c.current.State == "Running", "State": c.current.podState(),
		}
		if c.previous != nil {
			st["LastState"] = c.previous.podState()
		}
		statuses = append(statuses, st)
	}
	return map[string]any{
		"ContainerGroupId": g.id, "Name": g.spec.Name, "Status": g.status(), "Namespace": "default", "uuid": g.id,
		"PodStatus": map[string]any{"Phase": phase, "PodIp": localIP, "StartTime": stamp(g.created), "ContainerStatuses": statuses},
	}
}

func (s containerState) podState() map[string]any {
	switch s.State {
	case "Running":
		return map[string]any{"Running": map[string]any{"StartedAt": stamp(s.Start)}}
	case "Terminated":
		return map[string]any{"Terminated": map[string]any{
			"ExitCode": s.ExitCode, "Signal": s.Signal, "Reason": s.Reason, "Message": s.Message,
			"StartedAt": stamp(s.Start), "FinishedAt": stamp(s.Finish),
		}}
	default:
		return map[string]any{"Waiting": map[string]any{"Reason": s.Reason, "Message": s.Message}}
	}
}

func (s *Server) describeContainerGroupEvents(p *params) (map[string]any, *apiError) {
	page, next, total := s.page(p, statusLimit)
	if p.err != nil {
		return nil, p.err
	}
	data := []any{}
	for _, g := range page {
		g.mu.Lock()
		data = append(data, map[string]any{"ContainerGroupId": g.id, "Name": g.spec.Name, "Events": g.describeEvents()})
		g.mu.Unlock()
	}
	return map[string]any{"Data": data, "NextToken": next, "TotalCount": total}, nil
}
