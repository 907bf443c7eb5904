package lobby

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a lobby.
type Metrics struct {
	guests prometheus.Gauge
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{guests: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "breakwater", Subsystem: "lobby", Name: "guests", Help: "Guests held.",
	})}
	if reg != nil {
		reg.MustRegister(m.guests)
	}
	return m
}
