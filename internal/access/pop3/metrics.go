package pop3

import "github.com/prometheus/client_golang/prometheus"

// Metrics of all sessions of a host. Labels come from closed sets only.
type Metrics struct {
	sessions   prometheus.Gauge
	commands   *prometheus.CounterVec // cmd, status: ok or err
	logins     *prometheus.CounterVec // result: ok, refused, in_use, fault
	sent       prometheus.Counter     // octets of message text
	removed    prometheus.Counter
	unreadable prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, unless it is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_pop3_sessions", Help: "Open POP3 sessions."}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_pop3_commands_total", Help: "POP3 commands by their reply."},
			[]string{"cmd", "status"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_pop3_logins_total", Help: "POP3 logins by their result."},
			[]string{"result"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_pop3_sent_bytes_total", Help: "Octets of stored messages read for POP3 clients."}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_pop3_removed_total", Help: "Messages removed at QUIT."}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_pop3_unreadable_total", Help: "Messages not served to the end because they could not be read whole."}),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.commands, m.logins, m.sent, m.removed, m.unreadable)
	}
	return m
}
