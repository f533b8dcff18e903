package metrics

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// exposition is the tally in Prometheus' text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/), in the order of the
// catalog. It is written here because Prometheus' library costs each of a job's ten
// processes more time to start than all the rest of this package takes.
func (t tally) exposition() []byte {
	var b bytes.Buffer
	for _, m := range Catalog() {
		before := b.Len()
		kind := [...]string{"counter", "gauge", "histogram"}[m.Kind]
		b.WriteString("# HELP " + m.Name + " " + m.Help + "\n# TYPE " + m.Name + " " + kind + "\n")
		head := b.Len()
		switch m.Kind {
		case Counter:
			m.simple(&b, t.Counters[m.Name])
		case Gauge:
			m.simple(&b, t.Gauges[m.Name])
		case Histogram:
			m.histograms(&b, t.Histograms[m.Name])
		}
		if b.Len() == head { // nothing of it was counted yet
			b.Truncate(before)
		}
	}
	return b.Bytes()
}

func (m Metric) simple(b *bytes.Buffer, counted map[string]float64) {
	all := map[string]float64{}
	for _, zero := range m.Zero {
		all[series(zero)] = 0
	}
	maps.Copy(all, counted)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if values, ok := m.values(key); ok {
			m.sample(b, "", values, all[key])
		}
	}
}

func (m Metric) histograms(b *bytes.Buffer, counted map[string]spread) {
	for _, key := range slices.Sorted(maps.Keys(counted)) {
		s := counted[key]
		values, ok := m.values(key)
		if !ok || len(s.Counts) != len(m.Buckets)+1 { // of another version of the driver
			continue
		}
		below := uint64(0)
		for i, n := range s.Counts {
			below += n
			bound := math.Inf(1)
			if i < len(m.Buckets) {
				bound = m.Buckets[i]
			}
			m.sample(b, "_bucket", values, float64(below), "le", number(bound))
		}
		m.sample(b, "_sum", values, s.Sum)
		m.sample(b, "_count", values, float64(below))
	}
}

// values are the labels of a series; false where they are not the metric's, because
// another version of the driver has counted them.
func (m Metric) values(series string) ([]string, bool) {
	if len(m.Labels) == 0 {
		return nil, series == ""
	}
	values := strings.Split(series, "\x1f")
	return values, len(values) == len(m.Labels)
}

// sample writes one line; more are a label and its value.
func (m Metric) sample(b *bytes.Buffer, suffix string, values []string, value float64, more ...string) {
	b.WriteString(m.Name + suffix)
	var labels []string
	for i, name := range m.Labels {
		labels = append(labels, name+`="`+escape(values[i])+`"`)
	}
	for i := 0; i < len(more); i += 2 {
		labels = append(labels, more[i]+`="`+more[i+1]+`"`)
	}
	if len(labels) > 0 {
		b.WriteString("{" + strings.Join(labels, ",") + "}")
	}
	b.WriteString(" " + number(value) + "\n")
}

func escape(value string) string {
	if !strings.ContainsAny(value, "\\\n\"") && utf8.ValidString(value) {
		return value // the replacer costs more than all the rest
	}
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(strings.ToValidUTF8(value, "?"))
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
