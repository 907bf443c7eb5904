package relay

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Relay.
type Metrics struct {
	up         prometheus.Gauge
	busy       prometheus.Gauge
	idle       prometheus.Gauge
	dialled    [2]prometheus.Counter // failed, done
	reused     prometheus.Counter
	messages   [outcomes]prometheus.Counter
	remembered prometheus.Counter
	wait       prometheus.Histogram
}

// What became of a message.
const (
	accepted = iota
	refused  // by the inner server
	lost     // the inner server vanished
	aborted  // the client did
	outcomes
)

// NewMetrics makes the metrics of a Relay and registers them unless reg is
// nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "relay", Name: name, Help: help})
		all = append(all, g)
		return g
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "relay", Name: name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	m := &Metrics{
		up:   gauge("up", "Whether the inner server answers."),
		busy: gauge("connections_busy", "Connections to the inner server in use."),
		idle: gauge("connections_idle", "Connections to the inner server kept for the next transaction."),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "breakwater", Subsystem: "relay", Name: "commit_seconds", Help: "From the end of a body to the inner server's reply.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
	}
	connections := counters("connections_total", "Connections for transactions, by how they were had.", "outcome")
	m.dialled = [2]prometheus.Counter{connections.WithLabelValues("failed"), connections.WithLabelValues("made")}
	m.reused = connections.WithLabelValues("reused")
	recipients := counters("recipients_total", "Recipients refused without asking.", "outcome")
	m.remembered = recipients.WithLabelValues("remembered")
	messages := counters("messages_total", "Messages by outcome.", "outcome")
	for i, outcome := range []string{"accepted", "refused", "lost", "aborted"} {
		m.messages[i] = messages.WithLabelValues(outcome)
	}
	all = append(all, m.wait)
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}
