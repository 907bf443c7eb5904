package delivery

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Delivery.
type Metrics struct {
	recipients  [outcomes]prometheus.Counter
	connections [ways]prometheus.Counter
	tls         [securities]prometheus.Counter
	busy        prometheus.Gauge
	idle        prometheus.Gauge
	attempt     prometheus.Histogram
	forbidden   prometheus.Counter
	octets      prometheus.Counter
}

// What became of a recipient.
const (
	outcomeRelayed = iota
	outcomeDelivered
	outcomeDeferred
	outcomeBounced
	outcomeSetAside
	outcomes
)

// How a connection was had.
const (
	wayMade = iota
	wayReused
	wayStale // reused, and gone when it was used
	wayFailed
	ways
)

// How a connection was secured.
const (
	securityNone = iota
	securityOpportunistic
	securityRequired // encrypted or verified, for a route or REQUIRETLS
	securitySTS
	securityDANE
	securityFailed
	securities
)

// NewMetrics makes the metrics of a Delivery and registers them unless reg is
// nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "delivery", Name: name, Help: help})
		all = append(all, g)
		return g
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "delivery", Name: name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "delivery", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	m := &Metrics{
		busy: gauge("connections_busy", "Outgoing connections in use."),
		idle: gauge("connections_idle", "Outgoing connections kept for the next message."),
		attempt: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "breakwater", Subsystem: "delivery", Name: "attempt_seconds", Help: "Duration of an attempt.",
			Buckets: prometheus.ExponentialBuckets(0.002, 3, 12),
		}),
		forbidden: counter("forbidden_addresses_total", "Addresses of MX hosts that were refused as private or special."),
		octets:    counter("sent_bytes_total", "Octets of messages that were sent and accepted."),
	}
	recipients := counters("recipients_total", "Recipients attempted, by outcome.", "outcome")
	for i, s := range [outcomes]string{"relayed", "delivered", "deferred", "bounced", "set_aside"} {
		m.recipients[i] = recipients.WithLabelValues(s)
	}
	connections := counters("connections_total", "Outgoing connections, by how they were had.", "outcome")
	for i, s := range [ways]string{"made", "reused", "stale", "failed"} {
		m.connections[i] = connections.WithLabelValues(s)
	}
	tls := counters("tls_total", "New connections, by what secured them.", "policy")
	for i, s := range [securities]string{"none", "opportunistic", "required", "mta-sts", "dane", "failed"} {
		m.tls[i] = tls.WithLabelValues(s)
	}
	all = append(all, m.attempt)
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}
