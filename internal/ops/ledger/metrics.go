package ledger

import "github.com/prometheus/client_golang/prometheus"

// Metrics of an Audit.
type Metrics struct {
	unaccounted prometheus.Gauge
	findings    prometheus.Gauge
	last        prometheus.Gauge
	audits      *prometheus.CounterVec // by result
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "ledger", Name: name, Help: help})
	}
	m := &Metrics{
		unaccounted: gauge("unaccounted_recipients", "Accepted recipients without a fate, or messages where nobody knows of how many; must be 0."),
		findings:    gauge("findings", "What the last audit found wrong."),
		last:        gauge("last_audit_timestamp_seconds", "When the last audit was finished."),
		audits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "ledger", Name: "audits_total", Help: "Audits, by result.",
		}, []string{"result"}),
	}
	for _, result := range []string{"clean", "found", "failed"} {
		m.audits.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(m.unaccounted, m.findings, m.last, m.audits)
	}
	return m
}
