package tlsreport

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-mail/breakwater/internal/base/dns"
	"github.com/breakwater-mail/breakwater/internal/base/sys"
	"github.com/breakwater-mail/breakwater/internal/base/telemetry"
	"github.com/breakwater-mail/breakwater/internal/mail/message"
	"github.com/breakwater-mail/breakwater/internal/spool/tlspolicy"
)

const (
	// jitterMax spreads a day's reports over the first hours of the next
	// (RFC 8460 §4.1).
	jitterMax = 4 * time.Hour
	// retryPause is between attempts to send a report.
	retryPause = time.Hour
	// retryMax is for how long that is done (RFC 8460 §5.5).
	retryMax = 24 * time.Hour
	// runEvery is how often there is a look at what is due.
	runEvery = time.Minute
	// passMax domains are gone through at a time, and so many reports are sent
	// before what was sent is saved.
	passMax = 50
	// sendersMax send at once.
	sendersMax = 4
	// saveOctetsASecond is how fast the file is written: 20,000 domains make
	// one of some 12 MB, which every minute would be more than the mail is.
	saveOctetsASecond = 10 << 10
	// sendTimeout of one report to one destination.
	sendTimeout = 30 * time.Second
)

// Resolver answers questions to the DNS; *dns.Client is one.
type Resolver interface {
	Lookup(ctx context.Context, q dns.Question) dns.Answer
}

// Poster takes a message that the host itself has made. An error means that it
// was not taken.
type Poster interface {
	Post(ctx context.Context, from, to message.Address, body []byte) error
}

// Web does HTTPS with servers that strangers name; *tlspolicy.Web is one.
type Web interface {
	Do(r *http.Request) (*http.Response, error)
}

// Options of [Reports]. The zero value of a field has a default, but for the
// first two.
type Options struct {
	Hostname     message.Domain  // of this host
	From         message.Address // who sends the reports and is to be asked about them
	Organization string          // Hostname if ""
	// FS and Path are where the counts are kept; in memory only if Path is "".
	FS      sys.FS
	Path    string
	Clock   sys.Clock
	Rand    io.Reader // of the jitter; the system's if nil
	Log     *slog.Logger
	Metrics *Metrics
}

func (o Options) withDefaults() (Options, error) {
	if o.Hostname == "" || o.From.IsZero() || !o.From.ASCII() {
		return o, errors.New("tls reports: there must be a hostname and an ASCII sender")
	}
	if o.Organization == "" {
		o.Organization = string(o.Hostname)
	}
	if o.FS == nil {
		o.FS = sys.OSFS()
	}
	if o.Clock == nil {
		o.Clock = sys.RealClock()
	}
	if o.Rand == nil {
		o.Rand = sys.Rand()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	o.Log = telemetry.Logger(o.Log, "tlsreport")
	return o, nil
}

// Reports counts sessions and sends reports.
type Reports struct {
	o      Options
	r      Resolver
	poster Poster
	web    Web

	mu      sync.Mutex
	tally   tally      // guarded by mu
	unsaved int        // reports that were sent since; guarded by mu
	saveAt  time.Time  // when the file is to be written again; guarded by mu
	writing sync.Mutex // held while the file is written
}

// New makes Reports and reads what is kept in the file. A file that cannot be
// used is set aside and logged, and is no error. Without a Web, nothing is sent
// over HTTPS.
func New(o Options, r Resolver, p Poster, w Web) (*Reports, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if r == nil || p == nil {
		return nil, errors.New("tls reports: no resolver or nobody who takes mail")
	}
	rs := &Reports{o: o, r: r, poster: p, web: w}
	rs.load()
	return rs, nil
}

// Session counts a connection. It does not wait.
func (rs *Reports) Session(s tlspolicy.Session) {
	if s.Policy == nil || s.Policy.Domain == "" {
		return // a route of the operator: nobody's policy
	}
	if _, literal := s.Policy.Domain.Literal(); literal {
		return
	}
	if s.Failure == nil {
		s.Failure = s.Policy.Trouble
	}
	now := rs.o.Clock.Now().UTC()
	rs.mu.Lock()
	counted := rs.tally.add(now, s)
	rs.mu.Unlock()
	rs.o.Metrics.session(s.Failure == nil, counted)
}

// Run sends what is due and keeps the file written, until ctx ends.
func (rs *Reports) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return rs.save()
		case <-rs.o.Clock.After(runEvery):
		}
		rs.round(ctx)
	}
}

// round sends what is due, and writes the file if its time has come or there is
// something to remember.
func (rs *Reports) round(ctx context.Context) {
	for rs.pass(ctx) && ctx.Err() == nil {
	}
	rs.mu.Lock()
	due := rs.unsaved > 0 || !rs.o.Clock.Now().Before(rs.saveAt)
	rs.mu.Unlock()
	if !due {
		return
	}
	if err := rs.save(); err != nil {
		rs.o.Log.Error("save the counts of TLS sessions", telemetry.Err, err)
	}
}

// pass sends some of what is due, and tells whether there may be more.
func (rs *Reports) pass(ctx context.Context) bool {
	now := rs.o.Clock.Now().UTC()
	rs.mu.Lock()
	due := rs.tally.due(now, rs.jitter)
	rs.mu.Unlock()
	jobs := make(chan *job)
	var wg sync.WaitGroup
	for range min(sendersMax, len(due)) {
		wg.Go(func() {
			for j := range jobs {
				rs.send(ctx, j)
			}
		})
	}
	for _, j := range due {
		jobs <- j
	}
	close(jobs)
	wg.Wait()
	if len(due) == 0 {
		return false
	}
	rs.mu.Lock()
	for _, j := range due {
		rs.tally.settle(j, now)
		rs.unsaved += len(j.to)
	}
	full := rs.unsaved >= passMax
	rs.mu.Unlock()
	if !full {
		return len(due) == passMax
	}
	if err := rs.save(); err != nil {
		// What was sent is not remembered: sending on would tell the same again
		// after a restart.
		rs.o.Log.Error("save the counts of TLS sessions", telemetry.Err, err)
		return false
	}
	return len(due) == passMax
}

// jitter is called with rs.mu held. Without randomness there is none.
func (rs *Reports) jitter() time.Duration {
	var b [8]byte
	_, _ = io.ReadFull(rs.o.Rand, b[:])
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(jitterMax))
}

// Sent is a report that was sent, or given up.
type Sent struct {
	Date       string         `json:"date"` // of the day that it is about
	Domain     message.Domain `json:"domain"`
	At         time.Time      `json:"at"`
	To         []string       `json:"to"`              // who took it
	Error      string         `json:"error,omitempty"` // why others did not
	Successful int64          `json:"successful"`
	Failed     int64          `json:"failed"`
}

// Sent lists what was sent lately, the newest first.
func (rs *Reports) Sent() []Sent {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	out := make([]Sent, 0, len(rs.tally.sent))
	for i := len(rs.tally.sent) - 1; i >= 0; i-- {
		out = append(out, rs.tally.sent[i])
	}
	return out
}
