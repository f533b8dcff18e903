package ecitest

import (
	"slices"
	"strings"
	"time"
)

func describeContainerGroupEventsAction() action {
	return action{params: filterParams + " SinceSecond EventSource", serve: (*Server).describeContainerGroupEvents}
}

// maxEvents is how many events of a group are kept.
const maxEvents = 50

// describeContainerGroupEvents lists the events of groups. Its answer has no
// NextToken, though its request has.
func (s *Server) describeContainerGroupEvents(p *params) (map[string]any, *apiError) {
	source := p.oneOf("EventSource", "", "EciService", "K8sAgent")
	since := time.Duration(p.integer("SinceSecond", 0, 0, maxInt32)) * time.Second
	page, _, total := s.page(p, statusLimit)
	if p.err != nil {
		return nil, p.err
	}
	data := []any{}
	for _, g := range page {
		data = append(data, g.eventList(source, since))
	}
	return map[string]any{"Data": data, "TotalCount": total}, nil
}

func (g *group) eventList(source string, since time.Duration) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []any{}
	for _, e := range g.events {
		if (source != "" && e.source() != source) || (since > 0 && time.Since(e.Last) > since) {
			continue
		}
		d := g.s.describeEvent(e)
		delete(d, "Name")
		d["Metadata"] = map[string]any{"Name": e.Name, "Namespace": "default"}
		d["Source"] = map[string]any{"Component": e.source()}
		d["involvedObject"] = map[string]any{"ApiVersion": "v1", "Kind": "Pod", "Name": g.spec.Name, "Namespace": "default", "Uid": g.id}
		if g.s.opts.Switches.EventKeysLowerCamel {
			d = lowerKeys(d)
		}
		list = append(list, d)
	}
	return map[string]any{"ContainerGroupId": g.id, "Name": g.spec.Name, "Namespace": "default", "uuid": g.id, "Events": list}
}

// source is who tells an event: the kubelet's side, or ECI itself.
func (e event) source() string {
	kubelet := []string{"Scheduled", "Pulling", "Pulled", "Created", "Started", "Killing", "Failed", "BackOff", "ErrImageNeverPull", "InvalidImageName", "FailedMount", "DeadlineExceeded"}
	if slices.Contains(kubelet, e.Reason) {
		return "K8sAgent"
	}
	return "EciService"
}

func lowerKeys(m map[string]any) map[string]any {
	low := map[string]any{}
	for key, value := range m {
		if inner, ok := value.(map[string]any); ok {
			value = lowerKeys(inner)
		}
		low[strings.ToLower(key[:1])+key[1:]] = value
	}
	return low
}

// event records an event, or counts one that is there already.
func (g *group) event(kind, reason, name, message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == "" {
		name = g.spec.Name
	}
	g.events = addEvent(g.events, event{Type: kind, Reason: reason, Name: name, Message: message})
}

func addEvent(events []event, e event) []event {
	now := time.Now()
	i := slices.IndexFunc(events, func(o event) bool { return o.Reason == e.Reason && o.Name == e.Name && o.Message == e.Message })
	if i >= 0 {
		events[i].Count++
		events[i].Last = now
		return events
	}
	e.Count, e.First, e.Last = 1, now, now
	if events = append(events, e); len(events) > maxEvents {
		events = events[1:]
	}
	return events
}
