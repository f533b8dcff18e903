package ecitest

import (
	"net/http"
	"testing"
	"time"
)

// The passing of time is made up here, inside the package.
func TestWindow(t *testing.T) {
	s := &Server{recent: map[string][]time.Time{}}
	s.opts.Rates = Rates{Scale: 0.002, Window: time.Minute} // 2 of 1000
	s.opts.Switches.setDefaults()
	now := time.Now()
	for _, tt := range []struct {
		name   string
		recent []time.Time
		want   string
	}{
		{"first", nil, ""},
		{"second", []time.Time{now}, ""},
		{"third", []time.Time{now, now}, "Throttling.User"},
		{"one has left the window", []time.Time{now.Add(-time.Minute), now}, ""},
		{"none has yet", []time.Time{now.Add(-50 * time.Second), now}, "Throttling.User"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.recent["X"] = tt.recent
			got := ""
			if err := s.throttle(http.Header{}, "X", "", 1000); err != nil {
				got = err.Code
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
