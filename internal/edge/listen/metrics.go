package listen

import "github.com/prometheus/client_golang/prometheus"

// Metrics of all listeners of a host; each listener is a value of the label
// listener.
type Metrics struct {
	open     *prometheus.GaugeVec
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	tls      *prometheus.CounterVec
	errors   *prometheus.CounterVec
	panics   *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "listen", Name: name, Help: help,
		}, append([]string{"listener"}, labels...))
	}
	m := &Metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "breakwater", Subsystem: "listen", Name: "connections", Help: "Open connections.",
		}, []string{"listener"}),
		accepted: counter("accepted_total", "Connections accepted by the kernel."),
		refused:  counter("refused_total", "Connections closed before a protocol saw them.", "reason"),
		tls:      counter("handshakes_total", "TLS handshakes by outcome.", "outcome"),
		errors:   counter("accept_errors_total", "Errors of accept."),
		panics:   counter("panics_total", "Panics of handlers."),
	}
	if reg != nil {
		reg.MustRegister(m.open, m.accepted, m.refused, m.tls, m.errors, m.panics)
	}
	return m
}
