package host

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/spool/queue"
)

// backlogDestinations bounds the destinations that the metrics name: the largest
// ones are what an operator looks for, and every name is a series for weeks.
const backlogDestinations = 20

// backlogCollector shows the largest backlogs by destination. It asks when it is
// asked.
type backlogCollector struct {
	backlog               func() queue.Backlog
	waiting, oldest, left *prometheus.Desc
}

func newBacklogCollector(backlog func() queue.Backlog) *backlogCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("breakwater_queue_destination_"+name, help+" Of the largest backlogs only.", append([]string{"destination"}, labels...), nil)
	}
	return &backlogCollector{
		backlog: backlog,
		waiting: desc("recipients", "Recipients that wait, by destination and state.", "state"),
		oldest:  desc("oldest_seconds", "Age of the oldest recipient that waits."),
		left:    desc("drain_seconds", "How long until nothing is left, at the rate of the last minute; absent while that is not known."),
	}
}

// Describe implements prometheus.Collector.
func (c *backlogCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.waiting
	ch <- c.oldest
	ch <- c.left
}

// Collect implements prometheus.Collector.
func (c *backlogCollector) Collect(ch chan<- prometheus.Metric) {
	b := c.backlog()
	for _, l := range b.Destinations[:min(len(b.Destinations), backlogDestinations)] {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{l.Destination}, labels...)...)
		}
		for _, s := range []struct {
			state string
			n     int
		}{{"queued", l.Queued}, {"deferred", l.Deferred}, {"held", l.Held}, {"active", l.Active}} {
			gauge(c.waiting, float64(s.n), s.state)
		}
		if !l.Oldest.IsZero() {
			gauge(c.oldest, b.At.Sub(l.Oldest).Seconds())
		}
		if l.Drain >= 0 {
			gauge(c.left, l.Drain.Seconds())
		}
	}
}
