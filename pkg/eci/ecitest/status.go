package ecitest

func describeContainerGroupStatusAction() action {
	return action{params: filterParams + " SinceSecond", serve: (*Server).describeContainerGroupStatus}
}

// statusLimit is default and greatest Limit of DescribeContainerGroupStatus and
// DescribeContainerGroupEvents; that it is the greatest is a guess.
const statusLimit = 200

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
	case "ScheduleFailed", "Expired":
		phase = "Failed"
	}
	ready, statuses := true, []any{}
	for _, c := range g.containers {
		running := c.current.State == "Running"
		ready = ready && running
		st := map[string]any{
			"Name": c.spec.Name, "Image": c.spec.Image, "ImageID": c.image.id, "Ready": running, "RestartCount": c.restarts,
			"Started": running, "State": c.podState(c.current),
		}
		if c.previous != nil {
			st["LastState"] = c.podState(*c.previous)
		}
		statuses = append(statuses, st)
	}
	conditions := []any{
		g.condition("PodScheduled", g.phase != "Scheduling" && g.phase != "ScheduleFailed"), g.condition("Initialized", g.phase != "Scheduling"),
		g.condition("ContainersReady", ready), g.condition("Ready", ready),
	}
	return map[string]any{
		"ContainerGroupId": g.id, "Name": g.spec.Name, "Status": g.status(), "Namespace": "default", "uuid": g.id,
		"PodStatus": map[string]any{
			"Phase": phase, "HostIp": localIP, "PodIp": localIP, "PodIps": []any{map[string]any{"Ip": localIP}},
			"StartTime": g.s.stamp(g.created), "QosClass": "Guaranteed", "Conditions": conditions, "ContainerStatuses": statuses,
		},
	}
}

// condition has small letters in its keys, unlike all around it.
func (g *group) condition(name string, ok bool) map[string]any {
	status := "False"
	if ok {
		status = "True"
	}
	return map[string]any{"type": name, "status": status, "lastTransitionTime": g.s.stamp(g.modified)}
}

func (c *container) podState(state containerState) map[string]any {
	switch state.State {
	case "Running":
		return map[string]any{"Running": map[string]any{"StartedAt": c.g.s.stamp(state.Start)}}
	case "Terminated":
		return map[string]any{"Terminated": map[string]any{
			"ExitCode": state.ExitCode, "Signal": state.Signal, "Reason": state.Reason, "Message": c.message(state),
			"StartedAt": c.g.s.stamp(state.Start), "FinishedAt": c.g.s.stamp(state.Finish),
		}}
	default:
		return map[string]any{"Waiting": map[string]any{"Reason": state.Reason, "Message": state.Message}}
	}
}
