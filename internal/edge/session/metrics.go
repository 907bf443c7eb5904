package session

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the servers of one kind.
type Metrics struct {
	sessions   prometheus.Gauge
	began      prometheus.Counter
	replies    [6]prometheus.Counter // by the first digit, 2 to 5
	accepted   prometheus.Counter
	refused    prometheus.Counter
	aborted    prometheus.Counter
	rcptOK     prometheus.Counter
	rcptNo     prometheus.Counter
	octets     prometheus.Counter
	faults     prometheus.Counter
	timeouts   prometheus.Counter
	logins     [loginOutcomes]prometheus.Counter
	commit     prometheus.Histogram
	handshakes [2]prometheus.Counter // failed, done
}

// How a login ended.
const (
	loginOK = iota
	loginFailed
	loginMalformed
	loginCancelled
	loginFault
	loginOutcomes
)

// NewMetrics makes the metrics of the servers of one kind ("mx",
// "submission"), which stands in the label kind, and registers them unless
// reg is nil.
func NewMetrics(reg prometheus.Registerer, kind string) *Metrics {
	var all []prometheus.Collector
	labels := prometheus.Labels{"kind": kind}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "session", Name: name, Help: help, ConstLabels: labels,
		})
		all = append(all, c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "session", Name: name, Help: help, ConstLabels: labels,
		}, []string{label})
		all = append(all, c)
		return c
	}
	m := &Metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "breakwater", Subsystem: "session", Name: "sessions", Help: "Open sessions.", ConstLabels: labels,
		}),
		began:    counter("sessions_total", "Sessions begun."),
		octets:   counter("received_bytes_total", "Octets of message bodies received."),
		faults:   counter("faults_total", "Errors of our own that a client was told as 451 or 454."),
		timeouts: counter("timeouts_total", "Sessions ended because the client was too slow."),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "breakwater", Subsystem: "session", Name: "commit_seconds", Help: "From the end of a body to its being durable.",
			ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}),
	}
	all = append(all, m.sessions, m.commit)
	replies := vec("replies_total", "Replies sent, by their first digit.", "class")
	for i, class := range []string{2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"} {
		if class != "" {
			m.replies[i] = replies.WithLabelValues(class)
		}
	}
	messages := vec("messages_total", "Messages by outcome.", "outcome")
	m.accepted, m.refused, m.aborted = messages.WithLabelValues("accepted"), messages.WithLabelValues("refused"), messages.WithLabelValues("aborted")
	recipients := vec("recipients_total", "Recipients by outcome.", "outcome")
	m.rcptOK, m.rcptNo = recipients.WithLabelValues("accepted"), recipients.WithLabelValues("refused")
	logins := vec("logins_total", "AUTH exchanges by outcome.", "outcome")
	for i, outcome := range []string{"ok", "failed", "malformed", "cancelled", "fault"} {
		m.logins[i] = logins.WithLabelValues(outcome)
	}
	tls := vec("handshakes_total", "STARTTLS by outcome.", "outcome")
	m.handshakes = [2]prometheus.Counter{tls.WithLabelValues("failed"), tls.WithLabelValues("ok")}
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}
