package ecitest

import (
	"net/http"
	"strconv"
	"time"
)

// Rates bound the calls of each action, as the documented figures do. Calls that
// are refused for it don't count.
type Rates struct {
	Scale  float64       // of the documented calls a minute; 0 = nothing is bounded
	Window time.Duration // what a figure's minute is here, default a minute
}

// throttle refuses a call when the action's limit is used up.
func (s *Server) throttle(header http.Header, name, region string, perMinute int) *apiError {
	if perMinute == 0 {
		perMinute = s.opts.Switches.UnpublishedPerMinute
	}
	limit := int(float64(perMinute) * s.opts.Rates.Scale)
	if s.opts.Rates.Scale == 0 || perMinute == 0 {
		return nil
	}
	if s.opts.Switches.ThrottledPerRegion {
		name += " " + region
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, recent := time.Now(), s.recent[name]
	for len(recent) > 0 && now.Sub(recent[0]) >= s.opts.Rates.Window {
		recent = recent[1:]
	}
	if len(recent) < limit {
		s.recent[name] = append(recent, now)
		return nil
	}
	s.recent[name] = recent
	if wait := s.opts.Switches.ThrottlingRetryAfter; wait > 0 {
		header.Set("Retry-After", strconv.Itoa(max(1, int(wait.Seconds()))))
	}
	return invalid(s.opts.Switches.ThrottlingCode, "Request was denied due to user flow control.")
}
