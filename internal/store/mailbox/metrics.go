package mailbox

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the store's counters.
type Metrics struct {
	messages  *prometheus.CounterVec // by how: deliver, append, copy, move, expunge
	bodyBytes prometheus.Counter
	open      prometheus.Gauge
	loads     prometheus.Counter
	compacted prometheus.Counter
	states    prometheus.Counter
	findings  prometheus.Counter
	scrubbed  prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_mailbox_" + name, Help: help})
	}
	m := &Metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_mailbox_messages_total", Help: "Messages filed or removed, by what did it.",
		}, []string{"op"}),
		bodyBytes: counter("body_bytes_total", "Bytes of messages that came in."),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_mailbox_open", Help: "Mailboxes that somebody has open."}),
		loads:     counter("loads_total", "Message lists read from the index."),
		compacted: counter("compactions_total", "Journal segments compacted."),
		states:    counter("state_bytes_total", "Bytes of State records written."),
		findings:  counter("findings_total", "Damage found by the scrub."),
		scrubbed:  counter("scrubs_total", "Scrubs of the whole journal that came to their end."),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.bodyBytes, m.open, m.loads, m.compacted, m.states, m.findings, m.scrubbed)
	}
	return m
}
