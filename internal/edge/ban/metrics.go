package ban

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a list.
type Metrics struct {
	sources prometheus.Gauge
	kernel  prometheus.Gauge
	dropped prometheus.Gauge
	bans    *prometheus.CounterVec
	errors  prometheus.Counter
	mended  prometheus.Counter
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "breakwater", Subsystem: "ban", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "breakwater", Subsystem: "ban", Name: name, Help: help})
	}
	m := &Metrics{
		sources: gauge("sources", "Banned sources and networks."),
		kernel:  gauge("kernel", "1 while the kernel drops what banned sources send."),
		dropped: gauge("dropped_packets", "Packets that the kernel dropped, since its rules were made."),
		bans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "breakwater", Subsystem: "ban", Name: "bans_total", Help: "Bans asked for, by what became of them.",
		}, []string{"outcome"}),
		errors: counter("kernel_errors_total", "Calls to the kernel that failed."),
		mended: counter("mended_total", "Times that the kernel's table was found changed and was mended."),
	}
	if reg != nil {
		reg.MustRegister(m.sources, m.kernel, m.dropped, m.bans, m.errors, m.mended)
	}
	return m
}
