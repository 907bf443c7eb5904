package index

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the index's counters.
type Metrics struct {
	records  prometheus.Counter
	batches  prometheus.Histogram
	tx       prometheus.Histogram
	queued   prometheus.Gauge
	setAside prometheus.Counter
	faults   prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_index_records_total", Help: "Records applied to the index."}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "breakwater_index_batch_records", Help: "Records in one transaction.",
			Buckets: []float64{1, 4, 16, 64, 256, 1024, 4096}}),
		tx: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "breakwater_index_tx_seconds", Help: "Time of one transaction.",
			Buckets: []float64{.0001, .0005, .002, .01, .05, .2, 1, 5}}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_index_queued_records", Help: "Durable records not yet applied."}),
		setAside: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_index_set_aside_total", Help: "Records that could not be applied."}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "breakwater_index_faults_total", Help: "Transactions that failed for a reason outside their records."}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.batches, m.tx, m.queued, m.setAside, m.faults)
	}
	return m
}
