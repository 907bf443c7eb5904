package host

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/spool/queue"
)

func TestBacklogCollector(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	b := queue.Backlog{At: now}
	for i := range 30 {
		b.Destinations = append(b.Destinations, queue.Line{Destination: fmt.Sprintf("d%d.example", i), Queued: 30 - i, Oldest: now.Add(-time.Hour), Drain: -1})
	}
	b.Destinations[0].Drain = time.Minute
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newBacklogCollector(func() queue.Backlog { return b }))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		series int
		first  float64
	}{
		"breakwater_queue_destination_recipients":     {4 * backlogDestinations, 0}, // active comes first
		"breakwater_queue_destination_oldest_seconds": {backlogDestinations, 3600},
		"breakwater_queue_destination_drain_seconds":  {1, 60},
	}
	for _, f := range families {
		w, known := want[f.GetName()]
		delete(want, f.GetName())
		if n := len(f.Metric); !known || n != w.series || f.Metric[0].GetGauge().GetValue() != w.first {
			t.Errorf("%s has %d series, the first %v; want %+v", f.GetName(), n, f.Metric, w)
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}
