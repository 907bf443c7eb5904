package queue

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/store/fate"
)

// Metrics of a queue.
type Metrics struct {
	attempts   *prometheus.CounterVec
	reports    *prometheus.CounterVec
	saveErrors prometheus.Counter
	panics     prometheus.Counter

	queue atomic.Pointer[Queue]
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "queue", Name: name, Help: help}
	}
	m := &Metrics{
		attempts:   prometheus.NewCounterVec(opts("attempts_total", "Recipients tried, by what came of it."), []string{"outcome"}),
		reports:    prometheus.NewCounterVec(opts("reports_total", "Reports to senders, by what they tell of."), []string{"about"}),
		saveErrors: prometheus.NewCounter(opts("save_errors_total", "Times that results of attempts could not be made durable.")),
		panics:     prometheus.NewCounter(opts("panics_total", "Attempts that panicked.")),
	}
	for _, s := range []fate.State{fate.Delivered, fate.Relayed, fate.Deferred, fate.Bounced, fate.Discarded, fate.SetAside} {
		m.attempts.WithLabelValues(s.String())
	}
	for _, a := range []about{failure, delay, success} {
		m.reports.WithLabelValues(a.String())
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.reports, m.saveErrors, m.panics, (*gauges)(m))
	}
	return m
}

// watch has the gauges tell of a queue.
func (m *Metrics) watch(q *Queue) { m.queue.Store(q) }

// gauges are what a queue is asked for when somebody looks.
type gauges Metrics

func name(s string) string { return prometheus.BuildFQName("breakwater", "queue", s) }

func recipientsDesc() *prometheus.Desc {
	return prometheus.NewDesc(name("recipients"), "Open recipients, by state.", []string{"state"}, nil)
}

func oldestDesc() *prometheus.Desc {
	return prometheus.NewDesc(name("oldest_seconds"), "Age of the oldest recipient that is not held.", nil, nil)
}

func rateDesc() *prometheus.Desc {
	return prometheus.NewDesc(name("rate"), "Recipients that end in a second, over about a minute.", nil, nil)
}

func downDesc() *prometheus.Desc {
	return prometheus.NewDesc(name("destinations_down"), "Destinations that are not to be had.", nil, nil)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{recipientsDesc(), oldestDesc(), rateDesc(), downDesc()} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	q := g.queue.Load()
	if q == nil {
		return
	}
	b, down := q.backlog(0)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(recipientsDesc(), float64(b.Total.Queued), "queued")
	gauge(recipientsDesc(), float64(b.Total.Deferred), "deferred")
	gauge(recipientsDesc(), float64(b.Total.Held), "held")
	gauge(recipientsDesc(), float64(b.Total.Active), "active")
	oldest := 0.0
	if !b.Total.Oldest.IsZero() {
		oldest = max(0, b.At.Sub(b.Total.Oldest).Seconds())
	}
	gauge(oldestDesc(), oldest)
	gauge(rateDesc(), b.Total.Rate)
	gauge(downDesc(), float64(down))
}
