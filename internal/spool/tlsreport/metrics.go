package tlsreport

import "github.com/prometheus/client_golang/prometheus"

// Metrics of [Reports] and of an [Archive].
type Metrics struct {
	sessions  *prometheus.CounterVec
	uncounted prometheus.Counter
	reports   [outcomes]prometheus.Counter
	received  [2]prometheus.Counter // read, and not
}

// outcome is what became of a report and one destination.
type outcome uint8

const (
	sent outcome = iota
	failed
	unwanted
	outcomes
)

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "tlsreport", Name: name, Help: help}, []string{label})
	}
	reports := vec("reports_total", "TLS reports to other domains, by what became of them.", "outcome")
	received := vec("received_total", "TLS reports of other hosts, by whether they could be read.", "outcome")
	m := &Metrics{
		sessions: vec("sessions_total", "Sessions with other domains' hosts, by whether TLS was as it should be.", "outcome"),
		uncounted: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "tlsreport", Name: "uncounted_sessions_total", Help: "Sessions that no report will tell of: there were too many domains.",
		}),
	}
	for i, name := range [outcomes]string{"sent", "failed", "unwanted"} {
		m.reports[i] = reports.WithLabelValues(name)
	}
	for i, name := range [2]string{"read", "unreadable"} {
		m.received[i] = received.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.uncounted, reports, received)
	}
	return m
}

func (m *Metrics) count(o outcome) { m.reports[o].Inc() }

func (m *Metrics) session(well, counted bool) {
	label := "failed"
	if well {
		label = "ok"
	}
	m.sessions.WithLabelValues(label).Inc()
	if !counted {
		m.uncounted.Inc()
	}
}
