package dnsbl

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a [Checker].
type Metrics struct {
	answers       *prometheus.CounterVec
	usable        *prometheus.GaugeVec
	found, missed prometheus.Counter
	busy          prometheus.Counter
}

// zoneMetrics are those of one zone.
type zoneMetrics struct {
	answers [unasked + 1]prometheus.Counter
	usable  prometheus.Gauge
}

// NewMetrics makes the metrics and registers them, unless reg is nil. Zones of
// the configuration are their only open label.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	cache := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "dnsbl", Name: "cache_total", Help: "Looks for what DNS lists said before, by outcome.",
	}, []string{"outcome"})
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "answers_total", Help: "Answers of DNS lists by what they mean.",
		}, []string{"list", "outcome"}),
		usable: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "usable", Help: "1 for a DNS list that counts, 0 for one that is ignored.",
		}, []string{"list"}),
		found: cache.WithLabelValues("hit"), missed: cache.WithLabelValues("miss"),
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "dnsbl", Name: "busy_total", Help: "Addresses that were not asked about since too many waited.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.answers, m.usable, cache, m.busy)
	}
	return m
}

func (m *Metrics) of(zone string) zoneMetrics {
	z := zoneMetrics{usable: m.usable.WithLabelValues(zone)}
	for i, name := range [unasked + 1]string{"clear", "listed", "silent", "refusing", "poisoned", "unasked"} {
		z.answers[i] = m.answers.WithLabelValues(zone, name)
	}
	return z
}

func (z *zoneMetrics) count(v verdict) { z.answers[v].Inc() }
