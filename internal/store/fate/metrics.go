package fate

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the store's counters.
type Metrics struct {
	updates    *prometheus.CounterVec // by state
	unreadable prometheus.Counter
	purged     prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_fate_" + name, Help: help})
	}
	m := &Metrics{
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_fate_transitions_total",
			Help: "Transitions of recipients that could not be delivered at once, by the state they came to.",
		}, []string{"state"}),
		unreadable: counter("unreadable_total", "Accepted messages whose facts could not be read."),
		purged:     counter("purged_messages_total", "Messages whose closed books were dropped."),
	}
	if reg != nil {
		reg.MustRegister(m.updates, m.unreadable, m.purged)
	}
	return m
}
