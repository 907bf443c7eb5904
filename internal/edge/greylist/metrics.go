package greylist

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Table.
type Metrics struct {
	known, waiting   prometheus.Gauge
	deferred, passed prometheus.Counter
	returned, lost   prometheus.Counter
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "greylist", Name: name, Help: help})
	}
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "greylist", Name: "attempts_total", Help: "Attempts judged, by answer.",
	}, []string{"answer"})
	senders := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "breakwater", Subsystem: "greylist", Name: "senders_total", Help: "Delayed senders, by how it went on.",
	}, []string{"outcome"})
	m := &Metrics{
		known:    gauge("known", "Pools and networks that passed."),
		waiting:  gauge("waiting", "Senders that were told to come back."),
		deferred: attempts.WithLabelValues("deferred"), passed: attempts.WithLabelValues("passed"),
		returned: senders.WithLabelValues("returned"), lost: senders.WithLabelValues("lost"),
	}
	if reg != nil {
		reg.MustRegister(m.known, m.waiting, attempts, senders)
	}
	return m
}
