package account

import (
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-mail/breakwater/internal/base/sys"
)

// Options of a Store; the zero value is usable.
type Options struct {
	Clock sys.Clock    // nil: the real one
	Rand  io.Reader    // salts and secrets; nil: sys.Rand
	Log   *slog.Logger // nil: none
	// ScramIterations of new passwords; 0: the default, 65,536. Passwords
	// with another count get a new verifier at their next login.
	ScramIterations int
	// NoScram keeps no SCRAM verifiers: they are cheaper to guess from than
	// argon2id is, should the store be stolen. SCRAM logins then fail.
	NoScram bool
	Metrics *Metrics // nil: unregistered ones
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ScramIterations == 0 {
		o.ScramIterations = defaultScramIterations
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
}

// Metrics of a Store.
type Metrics struct {
	logins  *prometheus.CounterVec
	hashing prometheus.Histogram
	waiting prometheus.Gauge
}

// The outcomes of a login.
const (
	loginCached   = "cached"
	loginVerified = "verified"
	loginApp      = "app_password"
	loginRefused  = "refused"
	loginDisabled = "disabled"
	loginFault    = "fault"
)

// NewMetrics makes the metrics and registers them with reg unless it is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "breakwater_account_logins_total",
			Help: "Logins by password, by outcome.",
		}, []string{"outcome"}),
		hashing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "breakwater_account_hash_seconds",
			Help:    "Time to hash one password, including the wait for memory.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "breakwater_account_hash_waiting",
			Help: "Password hashings that are running or wait for memory.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.logins, m.hashing, m.waiting)
	}
	return m
}
