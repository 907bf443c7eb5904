package imap

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a [Server].
type Metrics struct {
	sessions prometheus.Gauge
	selected prometheus.Gauge
	commands *prometheus.CounterVec // cmd, status
	seconds  *prometheus.HistogramVec
	logins   *prometheus.CounterVec // outcome
	notices  prometheus.Counter
	damaged  prometheus.Counter
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_imap_sessions", Help: "IMAP sessions that are open.",
		}),
		selected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_imap_selected_sessions", Help: "IMAP sessions with a selected mailbox.",
		}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_imap_commands_total", Help: "IMAP commands by name and how they ended.",
		}, []string{"cmd", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "breakwater_imap_command_seconds", Help: "Time from an IMAP command to its tagged response, IDLE left out.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"cmd"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_imap_logins_total", Help: "IMAP logins by outcome: ok, refused, malformed, limit or fault.",
		}, []string{"outcome"}),
		notices: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_imap_idle_notices_total", Help: "Times that a client in IDLE was told of changes.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_imap_damaged_messages_total", Help: "Messages asked for whose stored bytes failed their checksum.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.selected, m.commands, m.seconds, m.logins, m.notices, m.damaged)
	}
	return m
}
