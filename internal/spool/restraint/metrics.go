package restraint

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Restraint.
type Metrics struct {
	accounts prometheus.Gauge
	verdicts [Hold + 1]prometheus.Counter
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "restraint", Name: "verdicts_total",
		Help: "Recipients and messages of accounts judged, by verdict.",
	}, []string{"verdict"})
	m := &Metrics{accounts: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "breakwater", Subsystem: "restraint", Name: "accounts", Help: "Accounts whose behaviour is known.",
	})}
	for v, label := range map[Verdict]string{Allow: "allow", Limit: "limit", Hold: "hold"} {
		m.verdicts[v] = verdicts.WithLabelValues(label)
	}
	if reg != nil {
		reg.MustRegister(m.accounts, verdicts)
	}
	return m
}
