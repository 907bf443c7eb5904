package dns

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a [Client].
type Metrics struct {
	answers  *prometheus.CounterVec
	inFlight prometheus.Gauge
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "dns", Name: "answers_total", Help: "DNS questions by what became of them.",
		}, []string{"outcome"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "breakwater", Subsystem: "dns", Name: "questions", Help: "DNS questions in flight.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.answers, m.inFlight)
	}
	return m
}
