package metrics

// The metrics, by their names in Prometheus.
const (
	Jobs         = "eci_executor_jobs_total"
	Prepare      = "eci_executor_prepare_seconds"
	PreparePhase = "eci_executor_prepare_phase_seconds"
	APICalls     = "eci_executor_api_calls_total"
	APIRetries   = "eci_executor_api_retries_total"
	Reconnects   = "eci_executor_stream_reconnects_total"
	Groups       = "eci_executor_container_groups_total"
	GroupSeconds = "eci_executor_container_group_seconds_total"
	Cost         = "eci_executor_cost_total"
	Reaped       = "eci_executor_container_groups_reaped_total"
	ReapSuccess  = "eci_executor_reap_last_success_timestamp_seconds"
)

// Kind is how a metric behaves.
type Kind int

// The kinds: what adds up, what is set, what is spread over buckets.
const (
	Counter Kind = iota
	Gauge
	Histogram
)

// Metric is what is known of a metric before anything was counted.
type Metric struct {
	Name    string
	Kind    Kind
	Help    string
	Labels  []string
	Zero    [][]string // label values that are there from the beginning, so that a first increment is an increase
	Buckets []float64  // upper bounds of a histogram, in its unit
}

// Catalog is all metrics.
func Catalog() []Metric {
	var outcomes [][]string
	for _, o := range Outcomes() {
		outcomes = append(outcomes, []string{string(o)})
	}
	alone := [][]string{{}}
	return []Metric{
		{Name: Jobs, Help: "Attempts of jobs that have ended, by how.", Labels: []string{"outcome"}, Zero: outcomes},
		{Name: Prepare, Kind: Histogram, Help: "Time that prepare took.", Labels: []string{"outcome"}, Buckets: []float64{2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600}},
		{Name: PreparePhase, Kind: Histogram, Help: "Time of a phase of a group's start: create by this host's clock; schedule, pull and start by ECI's, in whole seconds.",
			Labels: []string{"phase"}, Buckets: []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600}},
		{Name: APICalls, Help: "Calls of the ECI API, by their answer: OK, the error's code, HTTP and a status, or none.", Labels: []string{"action", "code"}},
		{Name: APIRetries, Help: "Calls that were made again, by the answer that made it so.", Labels: []string{"action", "code"}},
		{Name: Reconnects, Help: "Connections to a script's log that were lost, and followed by another.", Zero: alone},
		{Name: Groups, Help: "Container groups of jobs that have ended.", Labels: []string{"spot"}},
		{Name: GroupSeconds, Help: "Seconds for which they were billed.", Labels: []string{"spot"}},
		{Name: Cost, Help: "What they cost, by the prices that ECI told; no bill.", Labels: []string{"currency"}},
		{Name: Reaped, Help: "Container groups that reap has deleted.", Zero: alone},
		{Name: ReapSuccess, Kind: Gauge, Help: "When reap last had nothing to complain of."},
	}
}
