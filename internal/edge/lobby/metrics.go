package lobby

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/edge/policy"
)

// Metrics of a lobby.
type Metrics struct {
	guests   [stageCount]prometheus.Gauge
	ranks    [rankCount]prometheus.Gauge
	price    prometheus.Gauge
	sessions prometheus.Gauge
	tls      prometheus.Gauge
	arrived  prometheus.Counter
	admitted prometheus.Counter
	barred   prometheus.Counter
	turned   prometheus.Counter
	verdicts [3]prometheus.Counter // by policy.Kind
	evicted  [rankCount]prometheus.Counter
	endings  [endingCount]prometheus.Counter
	faults   [7]prometheus.Counter // by their bits
	octets   prometheus.Counter
	tlsLater prometheus.Counter
	errors   prometheus.Counter
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "lobby", Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "lobby", Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	m := &Metrics{
		price:    gauge("price_bytes", "What the state of all guests takes of its budget.").WithLabelValues(),
		sessions: gauge("sessions", "Connections handed over whose sessions have not ended.").WithLabelValues(),
		tls:      gauge("tls_guests", "Of these, handed over for STARTTLS.").WithLabelValues(),
		arrived:  counter("arrived_total", "Connections accepted.").WithLabelValues(),
		octets:   counter("octets_total", "Octets of guests' dialogues, both ways.").WithLabelValues(),
		tlsLater: counter("tls_later_total", "STARTTLS answered with 454.").WithLabelValues(),
		errors:   counter("accept_errors_total", "Errors of accept.").WithLabelValues(),
	}
	guests := gauge("guests", "Guests held, by what they do.", "state")
	for s := stageProxy; s < stageCount; s++ {
		m.guests[s] = guests.WithLabelValues(s.String())
	}
	ranks := gauge("ranks", "Guests held, by what is known of them: the first leave first.", "rank")
	evicted := counter("evicted_total", "Guests that left for others, by rank.", "rank")
	for r := range rankCount {
		m.ranks[r], m.evicted[r] = ranks.WithLabelValues(r.String()), evicted.WithLabelValues(r.String())
	}
	doors := counter("entries_total", "Connections that did not become guests.", "entry")
	m.admitted, m.barred, m.turned = doors.WithLabelValues("admitted"), doors.WithLabelValues("refused"), doors.WithLabelValues("no_room")
	verdicts := counter("verdicts_total", "Verdicts about guests.", "verdict")
	for k := range m.verdicts {
		m.verdicts[k] = verdicts.WithLabelValues(policy.Kind(k).String())
	}
	endings := counter("guests_total", "Guests that are no more, by how their stay ended.", "ending")
	for e := endQuit; e < endingCount; e++ {
		m.endings[e] = endings.WithLabelValues(e.String())
	}
	faults := counter("faults_total", "Guests that did what no mail server does.", "fault")
	for i, name := range faultList() {
		m.faults[i] = faults.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}

func (m *Metrics) fault(f policy.Faults) {
	for i := range m.faults {
		if f>>i&1 != 0 {
			m.faults[i].Inc()
		}
	}
}

// observe brings the gauges up to date: those of one hall are the difference
// to when it was here last.
func (h *hall) observe() {
	m := h.o.Metrics
	for s := stageProxy; s < stageCount; s++ {
		m.guests[s].Add(float64(h.stages[s] - h.seen.stages[s]))
	}
	for r := range rankCount {
		m.ranks[r].Add(float64(h.ranked[r] - h.seen.ranked[r]))
	}
	m.arrived.Add(float64(h.tally.arrived - h.seen.arrived))
	m.octets.Add(float64(h.tally.octets - h.seen.octets))
	h.seen.stages, h.seen.ranked, h.seen.arrived, h.seen.octets = h.stages, h.ranked, h.tally.arrived, h.tally.octets
	if h.lead {
		m.price.Set(float64(h.pool.price.Load()))
		m.sessions.Set(float64(h.pool.sessions.Load()))
		m.tls.Set(float64(h.pool.tls.Load()))
	}
}
