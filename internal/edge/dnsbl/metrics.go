package dnsbl

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a [Checker].
type Metrics struct {
	answers *prometheus.CounterVec
	cache   *prometheus.CounterVec
	usable  *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "answers_total", Help: "Answers of DNS lists by what they say.",
		}, []string{"list", "outcome"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "cache_total", Help: "Looks into the cache of DNS lists' answers by outcome.",
		}, []string{"outcome"}),
		usable: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "usable", Help: "1 for a DNS list that counts, 0 for one that is ignored.",
		}, []string{"list"}),
	}
	if reg != nil {
		reg.MustRegister(m.answers, m.cache, m.usable)
	}
	return m
}
