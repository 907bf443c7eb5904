package fulltext

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of the text index.
type Metrics struct {
	asked   prometheus.Counter
	maybe   prometheus.Counter
	indexed prometheus.Counter
	passed  prometheus.Counter
	octets  prometheus.Counter
	faults  prometheus.Counter
	wanted  prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_fulltext_" + name, Help: help})
	}
	m := &Metrics{
		asked:   counter("asked_total", "Messages that searches asked about."),
		maybe:   counter("candidates_total", "Messages of those that had to be scanned."),
		indexed: counter("indexed_total", "Messages indexed."),
		passed:  counter("passed_total", "Messages too long to be indexed."),
		octets:  counter("text_bytes_total", "Text read to be indexed."),
		faults:  counter("faults_total", "Lookups and batches that failed; searches scanned instead."),
		wanted: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_fulltext_wanted_messages", Help: "Messages waiting to be indexed."}),
	}
	if reg != nil {
		reg.MustRegister(m.asked, m.maybe, m.indexed, m.passed, m.octets, m.faults, m.wanted)
	}
	return m
}
