package journal

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the journal's counters. All methods of the fields are safe for
// concurrent use.
type Metrics struct {
	appends    *prometheus.CounterVec // by result: durable, refused, full, failed
	bytes      prometheus.Counter
	largeBytes prometheus.Counter
	groups     prometheus.Counter
	groupSize  prometheus.Histogram
	sync       prometheus.Histogram
	durable    prometheus.Gauge
	failed     prometheus.Gauge
	full       prometheus.Gauge
	segments   *prometheus.GaugeVec // by kind
	damage     prometheus.Counter
	torn       prometheus.Counter
	compacted  *prometheus.CounterVec // bytes by what: kept, dropped
}

// NewMetrics makes the metrics and registers them with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_journal_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_journal_" + name, Help: help})
	}
	m := &Metrics{
		appends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_journal_appends_total",
			Help: "Entries given to Append, by what became of them.",
		}, []string{"result"}),
		bytes:      counter("bytes_total", "Bytes written to log segments."),
		largeBytes: counter("large_bytes_total", "Bytes written to large segments."),
		groups:     counter("groups_total", "Group commits."),
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "breakwater_journal_group_records",
			Help:    "Records in a group commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "breakwater_journal_sync_seconds",
			Help:    "Time of one fdatasync of the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		durable: gauge("durable_lsn", "Last durable log sequence number."),
		failed:  gauge("failed", "1 after a failed write or sync: nothing is accepted any more."),
		full:    gauge("full", "1 while there is no room to append."),
		segments: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "breakwater_journal_segments", Help: "Segment files, by kind.",
		}, []string{"kind"}),
		damage: counter("damage_total", "Times that stored bytes failed their checksum."),
		torn:   counter("torn_bytes_total", "Bytes of torn tails that recovery cut."),
		compacted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_journal_compacted_bytes_total",
			Help: "Bytes of records seen by compaction, kept or dropped.",
		}, []string{"what"}),
	}
	if reg != nil {
		reg.MustRegister(m.appends, m.bytes, m.largeBytes, m.groups, m.groupSize, m.sync, m.durable,
			m.failed, m.full, m.segments, m.damage, m.torn, m.compacted)
	}
	return m
}
