package alarm

import "github.com/prometheus/client_golang/prometheus"

// Metrics of Alarms.
type Metrics struct {
	up      *prometheus.GaugeVec   // by severity
	notices *prometheus.CounterVec // by sink and result
	failing *prometheus.GaugeVec   // by sink
	leftOut prometheus.Counter
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "breakwater_alarm_raised", Help: "Alarms that are up, by severity.",
		}, []string{"severity"}),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_alarm_notices_total", Help: "Notices, by sink and by what became of them.",
		}, []string{"sink", "result"}),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "breakwater_alarm_sink_failing", Help: "1 while a sink does not take notices.",
		}, []string{"sink"}),
		leftOut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_alarm_left_out_total", Help: "Alarms that were not put up since too many are up.",
		}),
	}
	for _, s := range []Severity{Warning, Critical} {
		m.up.WithLabelValues(s.String())
	}
	if reg != nil {
		reg.MustRegister(m.up, m.notices, m.failing, m.leftOut)
	}
	return m
}
