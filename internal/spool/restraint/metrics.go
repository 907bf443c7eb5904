package restraint

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Restraint.
type Metrics struct {
	accounts prometheus.Gauge
	verdicts [Hold + 1]prometheus.Counter
	networks prometheus.Gauge
	limited  prometheus.Counter // recipients, by the limit of a network
	crowds   prometheus.Counter
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "restraint", Name: "verdicts_total",
		Help: "Recipients and messages of accounts judged, by verdict.",
	}, []string{"verdict"})
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "restraint", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "restraint", Name: name, Help: help})
	}
	m := &Metrics{
		accounts: gauge("accounts", "Accounts whose behaviour is known."),
		networks: gauge("networks", "Networks that accounts have sent from lately."),
		limited:  counter("network_limited_total", "Recipients put off because the limit of a network was reached."),
		crowds:   counter("network_crowds_total", "Times that many accounts began at once to write to strangers from one network."),
	}
	for v, label := range map[Verdict]string{Allow: "allow", Limit: "limit", Hold: "hold"} {
		m.verdicts[v] = verdicts.WithLabelValues(label)
	}
	if reg != nil {
		reg.MustRegister(m.accounts, m.networks, m.limited, m.crowds, verdicts)
	}
	return m
}
