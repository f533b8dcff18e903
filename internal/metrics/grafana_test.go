package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"

	"github.com/eci-executor/eci-executor/internal/metrics"
)

const packaging = "../../packaging/grafana/"

// expressions are those of the dashboard and of the alert rules, by what they are of.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, Y, W, H int }
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	for name, into := range map[string]func([]byte) error{
		"eci-executor.json": func(b []byte) error { return json.Unmarshal(b, &dashboard) },
		"alerts.yaml":       func(b []byte) error { return yaml.Unmarshal(b, &rules) },
	} {
		data, err := os.ReadFile(packaging + name)
		if err == nil {
			err = into(data)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	all := map[string]string{}
	for _, p := range dashboard.Panels {
		for i, target := range p.Targets {
			all["panel "+p.Title+string(rune('A'+i))] = target.Expr
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is wider than the dashboard", p.Title)
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s says too little", r.Alert)
			}
			all["alert "+r.Alert] = r.Expr
		}
	}
	if len(all) < 15 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}

// used are the metrics that an expression takes, with the labels that it speaks of.
func used(t *testing.T, expr string) map[string][]string {
	t.Helper()
	for variable, value := range map[string]string{"$__rate_interval": "5m", "$__range": "1h", "$instance": ".*"} {
		expr = strings.ReplaceAll(expr, variable, value)
	}
	parsed, err := metricsql.Parse(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	names := map[string][]string{}
	var grouping []string
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.AggrFuncExpr:
			grouping = append(grouping, e.Modifier.Args...)
		case *metricsql.MetricExpr:
			for _, filters := range e.LabelFilterss {
				var name string
				var labels []string
				for _, f := range filters {
					if f.Label == "__name__" {
						name = f.Value
					} else {
						labels = append(labels, f.Label)
					}
				}
				names[name] = append(names[name], labels...)
			}
		}
	})
	for name := range names {
		names[name] = append(names[name], grouping...)
	}
	return names
}

// TestGrafana: the dashboard and the alerts take only metrics and labels that there are,
// and show every metric.
func TestGrafana(t *testing.T) {
	catalog, shown := map[string]metrics.Metric{}, map[string]bool{}
	for _, m := range metrics.Catalog() {
		catalog[m.Name] = m
	}
	histogram := regexp.MustCompile(`_(bucket|sum|count)$`)
	for of, expr := range expressions(t) {
		names := used(t, expr)
		if len(names) == 0 {
			t.Errorf("%s takes no metric", of)
		}
		for name, labels := range names {
			m, ok := catalog[name]
			if part := histogram.FindString(name); !ok && part != "" {
				m, ok = catalog[strings.TrimSuffix(name, part)]
				ok = ok && m.Kind == metrics.Histogram
			} else if m.Kind == metrics.Histogram {
				ok = false
			}
			if !ok {
				t.Errorf("%s takes %s, which there is not", of, name)
				continue
			}
			shown[m.Name] = true
			for _, label := range labels {
				if !slices.Contains(append(m.Labels, "instance", "le"), label) {
					t.Errorf("%s speaks of the label %s of %s, which has none", of, label, name)
				}
			}
		}
	}
	for name := range catalog {
		if !shown[name] {
			t.Errorf("nothing shows %s", name)
		}
	}
}

// TestOperatingDocument: docs/operating.md has every metric with its labels, every alert,
// and no other.
func TestOperatingDocument(t *testing.T) {
	data, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	named := map[string]bool{}
	for _, m := range metrics.Catalog() {
		row := "| `" + m.Name + "` |"
		for _, label := range m.Labels {
			row += " `" + label + "`"
		}
		if len(m.Labels) == 0 {
			row += " "
		}
		if !strings.Contains(text, "\n"+row) {
			t.Errorf("docs/operating.md has no row %q", row)
		}
		named[m.Name] = true
	}
	for _, name := range regexp.MustCompile(`eci_executor_\w+`).FindAllString(text, -1) {
		if !named[name] {
			t.Errorf("docs/operating.md has %s, which there is not", name)
		}
	}
	for of := range expressions(t) {
		if alert, ok := strings.CutPrefix(of, "alert "); ok && !strings.Contains(text, "\n| `"+alert+"` |") {
			t.Errorf("docs/operating.md has no row of %s", alert)
		}
	}
}
