package policy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a Policy.
type Metrics struct {
	arrivals      *prometheus.CounterVec
	verdicts      *prometheus.CounterVec
	found         *prometheus.CounterVec
	ends          *prometheus.CounterVec
	slowed        *prometheus.CounterVec
	bans          *prometheus.CounterVec
	shadow        *prometheus.CounterVec
	accepted      prometheus.Counter
	level         prometheus.Gauge
	historyLost   prometheus.Counter
	historyErrors prometheus.Counter

	why     map[string]prometheus.Counter            // of arrivals; read only
	checks  map[string]prometheus.Counter            // of found; read only
	decided [Defer + 1]map[string]prometheus.Counter // of verdicts, by kind, then check; read only
	ended   map[string]prometheus.Counter            // of ends; read only
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "breakwater", Subsystem: "policy", Name: name, Help: help}
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	m := &Metrics{
		arrivals:      vec("arrivals_total", "Connections, by what became of them at arrival.", "why"),
		verdicts:      vec("verdicts_total", "Verdicts, by kind and by the check that decided.", "verdict", "by"),
		found:         vec("checks_total", "Guests in which a check found something.", "check"),
		ends:          vec("left_total", "Guests that left the lobby without a session, by how.", "how"),
		slowed:        vec("slowed_total", "Recipients that were deferred for a rate.", "rate"),
		bans:          vec("bans_total", "Bans, by reason.", "reason"),
		shadow:        vec("shadow_total", "Guests that a check in shadow would have kept out.", "check", "verdict"),
		accepted:      one("accepted_total", "Messages of strangers that were accepted."),
		level:         prometheus.NewGauge(prometheus.GaugeOpts(opts("load_level", "How much is going on: 0 calm, 1 busy, 2 stormy."))),
		historyLost:   one("history_lost_total", "Records that found no room in the buffer."),
		historyErrors: one("history_errors_total", "Writes of the history that failed."),
		why:           make(map[string]prometheus.Counter), checks: make(map[string]prometheus.Counter),
		ended: make(map[string]prometheus.Counter),
	}
	for _, w := range []string{whyAllowed, whyBanned, whyKnown, whyTrusted, whyRate, whyCap, whyStranger} {
		m.why[w] = m.arrivals.WithLabelValues(w)
	}
	for _, c := range Checks() {
		m.checks[c] = m.found.WithLabelValues(c)
	}
	for k := range m.decided {
		m.decided[k] = make(map[string]prometheus.Counter)
		for _, c := range Checks() {
			m.decided[k][c] = m.verdicts.WithLabelValues(Kind(k).String(), c)
		}
	}
	for _, e := range []string{EndedQuit, EndedLeft, EndedReset, EndedTimeout, EndedEvicted, EndedClosed, EndedStopped} {
		m.ended[e] = m.ends.WithLabelValues(e)
	}
	if reg != nil {
		reg.MustRegister(m.arrivals, m.verdicts, m.found, m.ends, m.slowed, m.bans, m.shadow,
			m.accepted, m.level, m.historyLost, m.historyErrors)
	}
	return m
}

func (m *Metrics) arrived(e *Entry) { m.why[e.Why].Inc() }

func (m *Metrics) left(how string) {
	if c := m.ended[how]; c != nil {
		c.Inc()
	}
}

func (m *Metrics) judged(v *Verdict) {
	m.decided[v.Kind][label(v.By)].Inc()
	for i := range v.Evidence {
		if e := &v.Evidence[i]; e.Weight != 0 {
			m.checks[label(e.Check)].Inc()
		}
	}
}

// label is a check's name for metrics, the same for all lists.
func label(check string) string {
	if isList(check) {
		return CheckLists
	}
	return check
}
