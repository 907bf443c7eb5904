package tlspolicy

import "github.com/prometheus/client_golang/prometheus"

// Metrics of [Policies].
type Metrics struct {
	kinds   [DANE + 1]prometheus.Counter
	refused prometheus.Counter
	fetches [outcomes]prometheus.Counter
	kept    prometheus.Gauge
}

// outcome is what became of a fetch.
type outcome uint8

const (
	fetched outcome = iota
	failed          // of DNS, the connection or HTTP
	untrusted
	invalid
	outcomes
)

func outcomeOf(r Result) outcome {
	switch r {
	case "":
		return fetched
	case STSWebPKIInvalid:
		return untrusted
	case STSPolicyInvalid:
		return invalid
	}
	return failed
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const namespace, subsystem = "breakwater", "tlspolicy"
	kinds := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "hosts_total", Help: "Hosts that mail was about to go to, by what decides about TLS.",
	}, []string{"kind"})
	fetches := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "fetches_total", Help: "MTA-STS policies that were asked for, by what became of it.",
	}, []string{"outcome"})
	m := &Metrics{
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "refused_hosts_total", Help: "Hosts that could not be used: not in the MTA-STS policy, or DNSSEC fails.",
		}),
		kept: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "policies", Help: "MTA-STS policies that are remembered.",
		}),
	}
	for k := range m.kinds {
		m.kinds[k] = kinds.WithLabelValues(Kind(k).String())
	}
	for i, name := range [outcomes]string{"fetched", "failed", "untrusted", "invalid"} {
		m.fetches[i] = fetches.WithLabelValues(name)
	}
	if reg != nil {
		reg.MustRegister(kinds, fetches, m.refused, m.kept)
	}
	return m
}
