package dns

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a [Client].
type Metrics struct {
	answers  [outcomes]prometheus.Counter
	inFlight prometheus.Gauge
}

// outcome is what became of a question.
type outcome uint8

const (
	there     outcome = iota // records
	missing                  // no such name or type
	failure                  // a server said that it cannot
	timeout                  // nobody answered
	malformed                // nobody answered well
	busy                     // not asked
	cached                   // not asked
	ended                    // by Close
	outcomes
)

func outcomeOf(a *Answer) outcome {
	switch {
	case a.Err == ErrTimeout:
		return timeout
	case a.Err == ErrMalformed:
		return malformed
	case a.Err != nil:
		return ended
	case a.RCode == NXDomain || a.RCode == NoError && a.records() == 0:
		return missing
	case a.RCode == NoError:
		return there
	}
	return failure
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "dns", Name: "answers_total", Help: "DNS questions by what became of them.",
	}, []string{"outcome"})
	m := &Metrics{inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "breakwater", Subsystem: "dns", Name: "questions", Help: "DNS questions in flight.",
	})}
	for i, name := range [outcomes]string{"answer", "missing", "failure", "timeout", "malformed", "busy", "cached", "closed"} {
		m.answers[i] = answers.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(answers, m.inFlight)
	}
	return m
}

func (m *Metrics) count(o outcome) { m.answers[o].Inc() }
