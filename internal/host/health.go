package host

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// A write that the disk has not finished for so long will not finish
	// soon: a busy disk takes a second at worst.
	stallMax = 5 * time.Second
	// A disk with less than this is about to refuse mail.
	healthFreeMin = 64 << 20
)

// health is what /health tells. It is asked from many goroutines.
type health struct {
	store atomic.Pointer[Store] // nil while it is being opened
	dir   string
	free  func(dir string) (int64, error)
}

// report is the answer of /health.
type report struct {
	Status string            `json:"status"` // green, red
	Checks map[string]string `json:"checks"` // name → "ok" or what is wrong
}

// now looks at everything anew.
func (h *health) now() report {
	r := report{Status: "green", Checks: map[string]string{}}
	s := h.store.Load()
	if s == nil {
		return report{Status: "red", Checks: map[string]string{"store": "is being opened"}}
	}
	set := func(name, wrong string) {
		r.Checks[name] = "ok"
		if wrong != "" {
			r.Checks[name], r.Status = wrong, "red"
		}
	}
	set("journal", journalProblem(s))
	set("index", indexProblem(s))
	set("disk", h.diskProblem())
	return r
}

func journalProblem(s *Store) string {
	if err := s.ready(); err != nil {
		return err.Error()
	}
	return ""
}

// ready says why mail cannot be taken now, if so: a failed journal takes none
// until the next start, a stalled disk none until it answers.
func (s *Store) ready() error {
	if err := s.Journal.Err(); err != nil {
		return err
	}
	if d := s.Journal.Stalled(); d > stallMax {
		return fmt.Errorf("a write has been waiting for the disk for %v", d.Round(time.Second))
	}
	return nil
}

func indexProblem(s *Store) string {
	if err := s.Index.Err(); err != nil {
		return err.Error()
	}
	return ""
}

func (h *health) diskProblem() string {
	free, err := h.free(h.dir)
	if err != nil {
		return err.Error()
	}
	if free < healthFreeMin {
		return "full: mail is refused with 452"
	}
	return ""
}

// handler answers /health and /metrics.
func (h *health) handler(reg prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		r := h.now()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if r.Status != "green" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(r) // a broken connection is the client's to notice
	})
	return mux
}
