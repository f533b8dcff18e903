package stages

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// tally is what the container groups of this host have cost so far, over all processes
// of the driver: metrics.json in state_dir, from which each writes the textfile anew.
// Groups that nobody cleaned up are not in it.
type tally struct {
	Groups  map[string]float64 `json:"groups"`  // by spot, "true" or "false"
	Seconds map[string]float64 `json:"seconds"` // billed, by the same
	Cost    map[string]float64 `json:"cost"`    // by currency, as far as ECI has told
}

// Count adds a group that ends to the tally, where [metrics] textfile wants one. What
// fails there fails no job.
func (s *Stage) Count(c *Cost, seconds float64) {
	if s.Config.Metrics.Textfile == "" || c == nil {
		return
	}
	if err := s.store().tally(s.Config.Metrics.Textfile, c, seconds); err != nil {
		s.Logger.WithError(err).Warn("writing [metrics] textfile")
	}
}

func (s store) tally(textfile string, c *Cost, seconds float64) error {
	release, err := s.lockDir()
	defer release()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "metrics.json")
	var t tally
	_, damaged := load(path, &t)
	if damaged != nil || t.Groups == nil {
		t = tally{map[string]float64{}, map[string]float64{}, map[string]float64{}} // begun anew, as a counter may be
	}
	spot := strconv.FormatBool(c.Spot)
	t.Groups[spot]++
	t.Seconds[spot] += seconds
	if c.PerSecond > 0 {
		t.Cost[c.Currency] += c.PerSecond * seconds
	}
	if err := write(path, t); err != nil {
		return errors.Join(damaged, err)
	}
	return errors.Join(damaged, t.expose(textfile))
}

// expose writes the textfile in Prometheus' format: the old one or the new one, whole.
func (t tally) expose(textfile string) error {
	registry := prometheus.NewRegistry()
	for _, m := range []struct {
		name, help, label string
		values            map[string]float64
	}{
		{"eci_executor_container_groups_total", "Container groups of jobs that have ended.", "spot", t.Groups},
		{"eci_executor_container_group_seconds_total", "Seconds for which they were billed.", "spot", t.Seconds},
		{"eci_executor_cost_total", "What they cost, by the prices that ECI told; no bill.", "currency", t.Cost},
	} {
		counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.name, Help: m.help}, []string{m.label})
		for value, n := range m.values {
			counter.WithLabelValues(value).Add(n)
		}
		if err := registry.Register(counter); err != nil {
			return fmt.Errorf("counting for [metrics] textfile: %w", err)
		}
	}
	if err := prometheus.WriteToTextfile(textfile, registry); err != nil {
		return fmt.Errorf("writing [metrics] textfile: %w; its directory must be there, and writable for the runner's user", err)
	}
	return nil
}
